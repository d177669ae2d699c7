/**
 * Carries out what a turn asked for, after its commit was acknowledged and in XState's order: actions run, events are
 * emitted, effects start and stop (I4). An action that throws fails its machine in a turn of its own.
 */
import { toStoredError } from '../errors.js'
import type { RuntimeContext } from './context.js'
import { effectIdOf } from './effects.js'
import type { ActRunner } from './dispatch.js'
import { decodeJson } from './json.js'
import type { DurableRecord, StoredAction, TurnResult } from './record.js'
import type { XMachine, XMachineSnapshot } from './xstate/insides.js'
import type { Cell } from './xstate/refs.js'
import type { Act } from './xstate/turn.js'

/**
 * The action being run, if one is: what it sends gets ids from its turn and place, so that running it again after a
 * crash sends nothing twice.
 */
let acting: { readonly prefix: string; count: number } | undefined

/** The next message id of the action being run, or undefined outside one. */
export function actingMessageId(): string | undefined {
  return acting && `${acting.prefix}.${acting.count++}`
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

  run(record: DurableRecord, result: TurnResult, actionIds: readonly (string | undefined)[] | undefined): void {
    const { effects, listeners } = this.context
    if (result.inspections.length > 0) listeners.inspected(result.inspections)
    /** A throw ends the rest of its machine's actions, as it would have in one synchronous step. */
    let failed: Cell | undefined
    for (let i = 0; i < result.acts.length; i++) {
      const act = result.acts[i]!
      switch (act.type) {
        case '@xstate.action': {
          const id = actionIds?.[i]
          if (act.cell !== failed && !this.perform(record, act, id ?? `${record.address}@${record.meta.incarnation}:${result.turn}/${i}`)) failed = act.cell
          if (id !== undefined) this.host.confirm(id)
          break
        }
        case '@xstate.start':
          // Stopped again by a later turn of the same commit: nobody would hear of it.
          if (record.status === 'active' && act.cell._snapshot.status === 'active') effects.start(record, act.cell, act.again ? 2 : 1)
          break
        case '@xstate.stop':
          effects.stop(effectIdOf(record, act.cell))
          break
        case '@xstate.receive': {
          const thrown = effects.receive(effectIdOf(record, act.cell), act.event)
          if (thrown !== undefined) this.host.fault(record, act.cell, thrown, `${effectIdOf(record, act.cell)}:${result.turn}/${i}`)
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

  /** Runs a stored action again, with the committed context. The cell may have gone; then nobody misses it. */
  again(record: DurableRecord, id: string, text: string): void {
    const stored = decodeJson(text, (ref) => record.tree.revive(ref)) as StoredAction
    const cell = record.tree.cells.get(stored.cell)
    const exec = (cell?.logic as XMachine | undefined)?.implementations?.actions[stored.name]
    if (cell && typeof exec === 'function') {
      const { context } = cell._snapshot as XMachineSnapshot
      this.perform(
        record,
        { type: '@xstate.action', cell, name: stored.name, params: stored.params, exec: exec as never, info: { context, event: stored.event, self: cell, system: record.tree } },
        id,
      )
    }
    this.host.confirm(id)
  }

  /** Returns whether the action ran without throwing. */
  private perform(record: DurableRecord, act: Act & { readonly type: '@xstate.action' }, id: string): boolean {
    acting = { prefix: id, count: 0 }
    try {
      const answer = act.exec(act.info, act.params)
      // XState does not wait for actions; a rejection nobody would see is a throw that came late.
      if (answer instanceof Promise) answer.catch((error: unknown) => this.host.fault(record, act.cell, error, id))
      return true
    } catch (error) {
      this.context.logger.warn({ actor: record.address, action: act.name, error: toStoredError(error).name }, 'an action threw')
      this.host.fault(record, act.cell, error, id)
      return false
    } finally {
      acting = undefined
    }
  }
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
