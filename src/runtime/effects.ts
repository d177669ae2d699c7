/**
 * Effects running in this process: promises, callbacks and observables, started only after the commit that asked for
 * them (I4) and told to their actor as messages.
 *
 * What a restart means for each: a promise runs again as a further attempt under the same key unless its outcome was
 * stored; an external action is reconciled first; a callback is set up again with its input; an observable is
 * subscribed again with its input. Nothing of what a callback or observable held in memory survives.
 */
import { CancelledError, HoldfastError, StoppedError, toStoredError, type StoredError } from '../errors.js'
import { about } from './envelope.js'
import { ASK, EFFECT, type EffectArgs, type EffectDeclaration, type Reconciled } from '../protocol.js'
import type { Address } from './identity.js'
import type { Logger } from './ports/logger.js'
import type { DurableRecord } from './record.js'
import { actionNameOf, idPath } from './effect-names.js'
import type { XEvent } from './xstate/insides.js'
import type { Cell } from './xstate/refs.js'

/** What is stored of an effect until its outcome is handled. */
export interface StoredEffect {
  readonly address: Address
  readonly cell: number
  readonly attempt: number
}

/** Where effects tell what happened to them. */
export interface EffectHost {
  readonly namespace: string
  readonly logger: Logger
  /** The effect's own actor is told; `id` makes a repeat harmless. */
  outcome(address: Address, cell: number, effectId: string, event: XEvent, attempt: number): void
  /** The effect's parent is sent an event. @throws for what is no event, or cannot be stored */
  emission(address: Address, cell: number, event: XEvent): void
  /** A callback threw while it was set up. */
  fault(address: Address, cell: number, error: unknown): void
}

interface Running {
  readonly address: Address
  readonly about: ReturnType<typeof about>
  readonly attempt: number
  readonly controller: AbortController
  readonly receivers: Set<(event: XEvent) => void>
  dispose: (() => void) | undefined
}

/** @param incarnation of the turn it is about: a restart in the same commit has another */
export function effectIdOf(record: DurableRecord, cell: Cell, incarnation = record.meta.incarnation): string {
  return `${record.address}@${incarnation}/${idPath(cell)}#${cell.number}`
}

/** `namespace/run/step/action`; outside a run `namespace/address/-/invoke/entry`. Free of incarnations: the receiver's view. */
export function idempotencyKeyOf(namespace: string, record: DurableRecord, cell: Cell): string {
  const run = record.meta.belongs?.run
  if (run === undefined) return `${namespace}/${record.address}/-/${actionNameOf(cell)}/${cell.entry}`
  const tilde = record.address.indexOf('~')
  return `${namespace}/${run}/${tilde === -1 ? '-' : record.address.slice(tilde + 1)}/${actionNameOf(cell)}`
}

export class Effects {
  private readonly running = new Map<string, Running>()
  private readonly told = new WeakSet<object>()
  private isHeld = false
  private readonly host: EffectHost

  constructor(host: EffectHost) {
    this.host = host
  }

  get size(): number {
    return this.running.size
  }

  isRunning(effectId: string): boolean {
    return this.running.has(effectId)
  }

  start(record: DurableRecord, cell: Cell, attempt: number): void {
    const id = effectIdOf(record, cell)
    // A question is a message of its turn; there is nothing to run.
    if (this.isHeld || this.running.has(id) || ASK in cell.logic) return
    const running: Running = { address: record.address, about: about(record.address, record.meta.belongs), attempt, controller: new AbortController(), receivers: new Set(), dispose: undefined }
    this.running.set(id, running)
    this.host.logger.debug({ ...running.about, effect: id, attempt }, 'an effect started')
    let idempotencyKey: string
    try {
      idempotencyKey = idempotencyKeyOf(this.host.namespace, record, cell)
    } catch (error) {
      // Its name was good when it was asked for, under other code.
      this.settle(record.address, cell.number, id, running, { type: 'xstate.promise.reject', data: toOutcomeError(error) })
      return
    }
    const args = {
      input: cell._snapshot.input,
      self: cell,
      system: cell.system,
      emit: () => {},
      signal: running.controller.signal,
      idempotencyKey,
      attempt,
    }
    switch (cell.kind) {
      case 'promise':
        this.startPromise(record, cell, id, running, args)
        return
      case 'callback':
        this.startCallback(record, cell, id, running, args)
        return
      default:
        this.startObservable(record, cell, id, running, args)
    }
  }

  /** Nobody waits for its outcome. `why`: the ask that it was begun for is over. Absent: its state was left, or its actor has ended. */
  stop(effectId: string, why?: StoredError): void {
    const running = this.running.get(effectId)
    if (!running) return
    this.abort(effectId, running, why ? reasonOf(why) : new CancelledError(`Effect ${effectId} was given up: nobody waits for it any more.`))
  }

  private abort(effectId: string, running: Running, reason: HoldfastError): void {
    this.running.delete(effectId)
    running.controller.abort(reason)
    try {
      running.dispose?.()
    } catch (error) {
      this.host.logger.warn({ ...running.about, effect: effectId, error: toStoredError(error).name }, 'an effect threw while it was stopped')
    }
  }

  /** An event for a callback's receivers: at most once, and lost if the callback is not running here. */
  receive(effectId: string, event: XEvent): unknown {
    try {
      this.running.get(effectId)?.receivers.forEach((receiver) => receiver(event))
      return undefined
    } catch (error) {
      return error
    }
  }

  /** Stops all and starts none, until they are let go again: then whoever runs their actors begins them anew. */
  hold(isHeld: boolean): void {
    this.isHeld = isHeld
    if (isHeld) this.stopWhere(() => true)
  }

  /** This process gives the actors up. */
  stopWhere(isOurs: (address: Address) => boolean): void {
    for (const [id, running] of [...this.running]) if (isOurs(running.address)) this.abort(id, running, new StoppedError(`Effect ${id}`))
  }

  private startPromise(record: DurableRecord, cell: Cell, id: string, running: Running, args: EffectArgs<unknown>): void {
    const declared = (cell.logic as { [EFFECT]?: EffectDeclaration })[EFFECT]
    if (!declared && !this.told.has(cell.logic)) {
      this.told.add(cell.logic)
      this.host.logger.info({ ...running.about, effect: id }, 'an undeclared promise is taken to be repeatable: after a crash it runs again. Declare it with repeatable(...) or external(...)')
    }
    const create = (declared?.run ?? cell.logic.config) as (args: unknown) => unknown
    const work = declared?.kind === 'external' && args.attempt > 1 ? this.reconcile(declared, args) : call(() => create(args))
    void work.then(
      (data) => this.settle(record.address, cell.number, id, running, { type: 'xstate.promise.resolve', data }),
      (error: unknown) => this.settle(record.address, cell.number, id, running, { type: 'xstate.promise.reject', data: toOutcomeError(error) }),
    )
  }

  /** An external action with an intent and no outcome: ask the receiver, and run it only if it had not happened. */
  private async reconcile(declared: EffectDeclaration, args: EffectArgs<unknown>): Promise<unknown> {
    const unknown = (why: string, cause?: unknown): HoldfastError =>
      new HoldfastError('OUTCOME_UNKNOWN', `Whether the external action ${args.idempotencyKey} has happened is unknown: ${why}. Find out, and decide by hand.`, { cause })
    if (!declared.reconcile) throw unknown('the process died while it ran, and it declares no reconcile')
    let answer: Reconciled<unknown>
    try {
      answer = (await declared.reconcile(args as EffectArgs<never>)) as Reconciled<unknown>
    } catch (error) {
      throw unknown(`reconcile failed (${toStoredError(error).message})`, error)
    }
    return answer.happened ? answer.output : declared.run(args as EffectArgs<never>)
  }

  /** What cannot be sent is the effect's own fault. */
  private emit(address: Address, cell: number, id: string, running: Running, event: XEvent): void {
    if (this.running.get(id) !== running) return
    try {
      this.host.emission(address, cell, event)
    } catch (error) {
      this.stop(id)
      this.host.fault(address, cell, error)
    }
  }

  private settle(address: Address, cell: number, id: string, running: Running, event: XEvent): void {
    // Stopped, or run anew since: its outcome is nobody's.
    if (this.running.get(id) !== running) return
    this.running.delete(id)
    this.host.logger.debug({ ...running.about, effect: id, outcome: event.type }, 'an effect ended')
    this.host.outcome(address, cell, id, event, running.attempt)
  }

  private startCallback(record: DurableRecord, cell: Cell, id: string, running: Running, args: object): void {
    const create = cell.logic.config as (args: unknown) => unknown
    try {
      const dispose = create({
        ...args,
        sendBack: (event: XEvent) => this.emit(record.address, cell.number, id, running, event),
        receive: (listener: (event: XEvent) => void) => void running.receivers.add(listener),
      })
      if (typeof dispose === 'function') running.dispose = dispose as () => void
    } catch (error) {
      this.running.delete(id)
      this.host.fault(record.address, cell.number, error)
    }
  }

  private startObservable(record: DurableRecord, cell: Cell, id: string, running: Running, args: object): void {
    const create = cell.logic.config as (args: unknown) => { subscribe(observer: object): { unsubscribe(): void } }
    const tell = (event: XEvent, last: boolean): void => {
      if (this.running.get(id) !== running) return
      if (last) this.settle(record.address, cell.number, id, running, event)
      else this.host.outcome(record.address, cell.number, '', event, running.attempt)
    }
    try {
      const subscription = create(args).subscribe({
        next: (data: unknown) => {
          if (cell.kind === 'observable') tell({ type: 'xstate.observable.next', data }, false)
          else this.emit(record.address, cell.number, id, running, data as XEvent)
        },
        error: (error: unknown) => tell({ type: 'xstate.observable.error', data: toOutcomeError(error) }, true),
        complete: () => tell({ type: 'xstate.observable.complete' }, true),
      })
      running.dispose = () => subscription.unsubscribe()
    } catch (error) {
      this.running.delete(id)
      this.host.fault(record.address, cell.number, error)
    }
  }
}

/** What the runtime tells an effect's actor, as its signal's reason. */
function reasonOf({ code, message }: StoredError): HoldfastError {
  return code === 'CANCELLED' ? new CancelledError(message) : new HoldfastError(code!, message)
}

/** A rejection as it is stored: errors by name and message, anything else as it is. */
function toOutcomeError(error: unknown): unknown {
  return error instanceof Error ? toStoredError(error) : error
}

function call(run: () => unknown): Promise<unknown> {
  try {
    return Promise.resolve(run())
  } catch (error) {
    return Promise.reject(error as Error)
  }
}
