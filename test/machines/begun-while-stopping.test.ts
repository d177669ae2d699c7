/** What an agent was granted whose start the crew did not pass on any more, because it was stopping. */
import { expect, test } from 'vitest'
import { initialTransition, transition } from 'xstate'
import { isBalanced, nothing, type Amounts } from '../../src/machines/ledger.js'
import { runMachine, type RunEvent, type RunInput } from '../../src/machines/run.machine.js'
import { supervisorMachine, type SupervisorEvent, type SupervisorOutput } from '../../src/machines/supervisor.machine.js'

const fact = { id: 'plan', machine: 'planner', address: 'planner/r~plan', at: 1, chance: 0.5 } as const
const child = { id: 'plan', machine: 'planner', shutdown: { event: { type: 'task.cancel' }, withinMs: 10 } } as const
const started = { ...fact, type: 'child.started', generation: 1 } as unknown as SupervisorEvent
const failed = { ...fact, type: 'child.failed', generation: 1, error: { name: 'Error', message: 'no' } } as unknown as SupervisorEvent
const stopped = { ...fact, type: 'child.stopped', generation: 1, reason: 'stopped' } as unknown as SupervisorEvent
const gone = { ...fact, type: 'child.stopped', generation: 0, reason: 'gone' } as unknown as SupervisorEvent
const halt: SupervisorEvent = { type: 'halt' }
const request: SupervisorEvent = { type: 'child.request', child }

function outputAfter(events: readonly SupervisorEvent[], workingMax = 8): SupervisorOutput {
  let [snapshot] = initialTransition(supervisorMachine, { workingMax })
  for (const event of events) [snapshot] = transition(supervisorMachine, snapshot, event)
  expect(snapshot.status).toBe('done')
  return snapshot.output!
}

/** The run's planner, which holds all there is, as the run has it that was told no start. */
function runAfter(output: SupervisorOutput): { readonly spent: Amounts; readonly free: Amounts } {
  const ceiling = { tokens: 100, calls: 10, nanoDollars: 1_000 }
  const input: RunInput = { run: 'r', address: 'run/r', goal: { text: 'why', digest: 'd' } as never, ceiling, crew: { planner: 'planner', worker: 'worker', writer: 'writer' }, grants: {}, supervisor: {}, stepsMax: 3, replansMax: 0, models: null, material: null }
  let [snapshot] = initialTransition(runMachine, input)
  expect(snapshot.context.ledger).toMatchObject({ granted: { plan: ceiling }, free: nothing })
  ;[snapshot] = transition(runMachine, snapshot, { type: 'run.cancel', by: 'ann' })
  ;[snapshot] = transition(runMachine, snapshot, { type: 'xstate.done.actor.crew', actorId: 'crew', output } as unknown as RunEvent)
  expect(snapshot.status).toBe('done')
  const { ledger } = snapshot.context
  expect(isBalanced(ledger)).toBe(true)
  expect(ledger.granted).toEqual({})
  return { spent: ledger.spent, free: ledger.free }
}

const all = { tokens: 100, calls: 10, nanoDollars: 1_000 }

test.each([
  ['it began while the crew was stopping, failed, and was stopped', [request, halt, started, failed, stopped]],
  ['it began while the crew was stopping, and was stopped by command', [request, halt, started, { type: 'shutdown.due', id: 'plan' }, stopped]],
  ['it began while the crew was stopping, failed, and its record is gone', [request, halt, started, failed, gone]],
  ['it is stopped, and nobody heard that it began', [request, halt, { type: 'shutdown.due', id: 'plan' }, stopped]],
] as const satisfies readonly (readonly [string, readonly SupervisorEvent[]])[])('all of a grant counts as spent of which there is no account: %s', (_, events) => {
  const output = outputAfter(events)
  expect(output.ended).toEqual([{ id: 'plan' }])
  expect(runAfter(output)).toEqual({ spent: all, free: nothing })
})

test('all of a grant comes back of one that never began: the crew has no record of it, or it was waiting for room', () => {
  const output = outputAfter([request, halt, gone])
  expect(output).not.toHaveProperty('ended')
  expect(runAfter(output)).toEqual({ spent: nothing, free: all })
  const first = { ...child, id: 'first' }
  const waited = outputAfter([{ type: 'child.request', child: first }, request, halt, { ...(stopped as object), id: 'first', generation: 0 } as never], 1)
  expect(waited.ended).toEqual([{ id: 'first' }])
  const told = outputAfter([request, started, halt, failed, stopped])
  expect(told).not.toHaveProperty('ended')
  expect(runAfter(waited)).toEqual({ spent: nothing, free: all })
})

test('what it gives account of comes back', () => {
  const account = { outcome: 'failed', output: null, failure: { reason: 'cancelled', message: '' }, unspent: { tokens: 60, calls: 9, nanoDollars: 400 }, overrun: nothing }
  const output = outputAfter([request, halt, started, { ...(stopped as object), reason: 'done', output: account } as never])
  expect(runAfter(output)).toEqual({ spent: { tokens: 40, calls: 1, nanoDollars: 600 }, free: account.unspent })
})
