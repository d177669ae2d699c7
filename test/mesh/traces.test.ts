/** The trace on its way to a trace store: whole, once, and never at the price of memory. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type Mesh, type TraceEntry, type TraceStore } from '../../src/index.js'
import { World } from '../../src/testing/index.js'
import { functionModel } from '../support/function-model.js'

/** A trace store that takes nothing while it is `down`. */
class Flaky implements TraceStore {
  down = false
  readonly kept: TraceEntry[] = []
  append(entries: readonly TraceEntry[]): Promise<void> {
    if (this.down) return Promise.reject(new Error('no room'))
    this.kept.push(...entries)
    return Promise.resolve()
  }
  read(run: string): Promise<readonly TraceEntry[]> {
    return Promise.resolve(this.kept.filter((entry) => entry.run === run))
  }
  close(): Promise<void> {
    return Promise.resolve()
  }
}

function stage(traces: TraceStore) {
  const client = functionModel(({ task }) => ((task as { agent: string }).agent === 'planner' ? { steps: [{ n: 1 }, { n: 2 }] } : {}))
  const common = { input: z.looseObject({}), output: z.looseObject({}), model: modelOf(client, 'm', { input: 1, output: 1 }), prompt: ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] }) }
  const [planner, worker, checker, writer] = (['planner', 'worker', 'checker', 'writer'] as const).map((name) => defineAgent({ ...common, name }))
  const definition = defineRun({ name: 'job', crew: { planner: planner!, worker: worker!, checker: checker!, writer: writer! } })
  const errors: string[] = []
  const log = (_: object, message: string): void => void errors.push(message)
  let mesh: Mesh
  const world = new World({ create: (given) => (mesh = createMesh({ ...given, runs: [definition], traces, tracesWaitingMax: 2, logger: { trace() {}, debug() {}, info() {}, warn() {}, error: log } })) })
  return { client, world, errors, start: () => mesh.run(definition, { id: 'r', goal: 'why' }), run: () => mesh.handle(definition, 'r') }
}

test('a trace store that takes nothing stops the calls at a bound, says so, and loses nothing', async () => {
  const traces = new Flaky()
  const { client, world, errors, start, run } = stage(traces)
  await world.start()
  traces.down = true
  await start()
  await world.advance(60_000)
  // The planner had room; the workers' calls wait.
  expect(client.requests.map(({ task }) => (task as { agent: string }).agent)).toEqual(['planner'])
  expect((await run().status())!.state).toBe('working')
  expect(errors).toContain('the trace store does not take the trace of the calls: no further call is made until it does')
  // What waits can be read all the same.
  expect((await run().trace()).find(({ agent }) => agent === 'planner')).toMatchObject({ accepted: null, completion: expect.stringContaining('steps') as string })

  traces.down = false
  await world.advance(60_000)
  expect((await run().status())!.state).toBe('done')
  expect((await run().trace()).map(({ agent, cost, goalCheck }) => [agent, cost !== null, goalCheck])).toEqual([
    ['planner', true, 'intact'],
    ['worker', true, 'intact'],
    ['worker', true, 'intact'],
    ['writer', true, 'intact'],
  ])
  expect(new Set(traces.kept.map((entry) => JSON.stringify(entry))).size).toBe(traces.kept.length)
  await world.stop()
})

test('what a killed process had not handed over, the next one does; an attempt that it cut off has no outcome', async () => {
  const traces = new Flaky()
  const { client, world, start, run } = stage(traces)
  await world.start()
  traces.down = true
  await start()
  await world.settled()
  world.crash()
  traces.down = false
  await world.start()
  await world.advance(600_000)
  expect((await run().status())!.state).toBe('done')
  const trace = await run().trace()
  expect(trace.filter(({ agent }) => agent === 'planner')).toHaveLength(1)
  expect(trace.length).toBeGreaterThanOrEqual(client.requests.length)
  for (const record of trace) expect(record.error === 'the process died while the model was being asked' ? record.completion === null : record.completion !== null).toBe(true)
  await world.stop()
})
