/**
 * Carries out what a turn asked for, after its commit was acknowledged and in XState's order: actions run, events are
 * emitted, effects start and stop (I4). An action that throws fails its machine in a turn of its own.
 */
import { toStoredError } from '../errors.js'
import { AT_MOST_ONCE } from '../protocol.js'
import type { RuntimeContext } from './context.js'
import { effectIdOf } from './effects.js'
import type { ActRunner } from './dispatch.js'
import { about } from './envelope.js'
import { decodeJson } from './json.js'
import type { DurableRecord } from './record.js'
import type { TurnResult } from './turn-result.js'
import type { StoredAction } from './stored-record.js'
import { isMachine, resolveLogic, type XLogic, type XMachine, type XMachineSnapshot } from './xstate/insides.js'
import type { Cell } from './xstate/refs.js'
import type { Act } from './xstate/turn.js'

/**
 * The action being run, if one is: what it sends gets ids from its turn and place, so that running it again after a
 * crash sends nothing twice. Until all of it is durable the action has not run.
 */
let acting: { readonly prefix: string; count: number; readonly sent: Promise<unknown>[] } | undefined

/** The next message id of the action being run, or undefined outside one. */
export function actingMessageId(): string | undefined {
  return acting && `${acting.prefix}.${acting.count++}`
}

/** A message is on its way; if an action sent it, the action waits for it. */
export function noteSent(accepted: Promise<unknown>): void {
  acting?.sent.push(accepted)
}

export interface ActsHost {
  /** A named action has run: the next commit may forget it. */
  confirm(actionId: string): void
  /** An action of the cell threw. */
  fault(record: DurableRecord, cell: Cell, error: unknown, actionId: string): void
}

export class Acts implements ActRunner {
  private readonly context: RuntimeContext
  private readonly host: ActsHost

  constructor(context: RuntimeContext, host: ActsHost) {
    this.context = context
    this.host = host
  }

  run(record: DurableRecord, result: TurnResult, actionIds: readonly (string | undefined)[] | undefined, incarnation: number): void {
    const { effects, listeners } = this.context
    if (result.inspection) listeners.inspected(record.tree.root, result.inspection)
    /** A throw ends the rest of its machine's actions, as it would have in one synchronous step. */
    let failed: Cell | undefined
    for (let i = 0; i < result.acts.length; i++) {
      const act = result.acts[i]!
      switch (act.type) {
        case '@xstate.action': {
          const id = actionIds?.[i]
          if (act.cell === failed) {
            if (id !== undefined) this.host.confirm(id)
          } else if (!this.perform(record, act, id ?? `${record.address}@${incarnation}:${result.turn}/${i}`, id !== undefined)) failed = act.cell
          break
        }
        case '@xstate.start':
          // Stopped again by a later turn of the same commit, or its actor restarted: nobody would hear of it.
          if (record.meta.incarnation === incarnation && record.status === 'active' && act.cell._snapshot.status === 'active') effects.start(record, act.cell, act.again ? 2 : 1)
          break
        case '@xstate.stop':
          effects.stop(effectIdOf(record, act.cell, incarnation), act.why)
          break
        case '@xstate.receive': {
          const thrown = effects.receive(effectIdOf(record, act.cell, incarnation), act.event)
          if (thrown !== undefined) this.host.fault(record, act.cell, thrown, `${effectIdOf(record, act.cell, incarnation)}:${result.turn}/${i}`)
          break
        }
        case '@xstate.emit':
          if (act.cell.number === 0) listeners.emitted(record, act.event)
          break
        case '@xstate.log':
          listeners.logged(record, act.label, act.value)
          break
        default:
      }
    }
    listeners.turned(record, result)
    for (const cell of result.touched) if (cell._observers && cell.number !== 0) notify(cell)
  }

  /** Runs a stored action again: with the committed context, or, if its child has gone, with the one it had. */
  again(record: DurableRecord, id: string, text: string): void {
    const stored = decodeJson(text, (ref) => record.tree.revive(ref)) as StoredAction
    const cell = record.tree.cells.get(stored.cell)
    const logic = (cell?.logic ?? logicAt(record.tree.root.logic, stored.src ?? [])) as XMachine | undefined
    const exec = logic?.implementations?.actions[stored.name]
    // One that is atMostOnce was kept by a build in which it was not.
    if (typeof exec !== 'function' || AT_MOST_ONCE in exec) {
      this.host.confirm(id)
      return
    }
    const self = cell ?? (record.tree.revive({ xstate$$type: 1, id: '', n: stored.cell }) as Cell)
    const context = cell ? (cell._snapshot as XMachineSnapshot).context : stored.context
    this.perform(record, { type: '@xstate.action', cell: self, name: stored.name, params: stored.params, exec: exec as never, info: { context, event: stored.event, self, system: record.tree } }, id, true)
  }

  /**
   * Runs an action, and confirms one that is stored when all that it has sent is durable. Returns whether it did not
   * throw.
   */
  private perform(record: DurableRecord, act: Act & { readonly type: '@xstate.action' }, id: string, isStored: boolean): boolean {
    const sent: Promise<unknown>[] = []
    acting = { prefix: id, count: 0, sent }
    try {
      const answer = act.exec(act.info, act.params)
      // XState does not wait for actions; a rejection nobody would see is a throw that came late.
      if (answer instanceof Promise) answer.catch((error: unknown) => this.host.fault(record, act.cell, error, id))
      return true
    } catch (error) {
      this.context.logger.warn({ ...about(record.address, record.meta.belongs), action: act.name, error: toStoredError(error).name }, 'an action threw')
      this.host.fault(record, act.cell, error, id)
      return false
    } finally {
      acting = undefined
      // What is not accepted here is sent by the next owner, which runs the action again.
      if (isStored) {
        if (sent.length === 0) this.host.confirm(id)
        else Promise.all(sent).then(() => this.host.confirm(id), () => {})
      }
    }
  }
}

/** What a child runs, by what it and its parents do from the root's child down. */
function logicAt(root: XLogic, path: readonly string[]): XLogic | undefined {
  let logic: XLogic | undefined = root
  for (const src of path) logic = logic && isMachine(logic) ? resolveLogic(logic, src) : undefined
  return logic
}

function notify(cell: Cell): void {
  const snapshot = cell._snapshot
  for (const observer of [...cell._observers!]) {
    try {
      observer.next?.(snapshot)
      if (snapshot.status === 'done' || snapshot.status === 'stopped') observer.complete?.()
      if (snapshot.status === 'error') observer.error?.(snapshot.error)
    } catch {
      // A throwing listener harms nobody (contract 4).
    }
  }
}
