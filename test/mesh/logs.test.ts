/** Logs: who and what, at a level that means something, and never what was said. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, ModelError } from '../../src/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { functionModel } from '../support/function-model.js'
import { RecordingLogger } from '../support/worlds.js'

test('every line about an actor of a run names actor and run, of an effect the effect, and none holds prompt, answer or payload', async () => {
  let asked = 0
  const client = functionModel(({ task }) => {
    if ((task as { agent: string }).agent === 'planner') return { steps: [{ secret: 'payload-4711' }, { secret: 'payload-4711' }] }
    if (asked++ === 0) throw new ModelError('server', 'payload-4711', { retryable: false })
    return { text: 'payload-4711' }
  })
  const agent = (name: string) => defineAgent({ name, input: z.looseObject({}), output: z.looseObject({}), model: modelOf(client, 'm'), prompt: ({ input }) => ({ messages: [{ role: 'user', content: `payload-4711 ${JSON.stringify(input)}` }] }) })
  const job = defineRun({
    name: 'job',
    crew: { planner: agent('planner'), worker: agent('worker'), writer: agent('writer') },
    action: () => ({ name: 'post', input: { text: 'payload-4711' } }),
    externalActions: {
      post: {
        input: z.looseObject({}),
        run: () => {
          throw new Error('payload-4711')
        },
      },
    },
  })
  const logger = new RecordingLogger()
  const mesh = await createMesh({ store: new MemoryStore(), runs: [job], logger }).start()
  const run = await mesh.run(job, { id: 'r-1', goal: 'payload-4711' })
  await run.output({ deadlineMs: 10_000 })
  await mesh.system.actorAt('job/r-1').send({ type: 'payload', text: 'payload-4711' } as never)
  await mesh.system.settled()
  await mesh.stop()

  expect(JSON.stringify(logger.lines)).not.toContain('payload-4711')
  expect(logger.lines.filter(({ actor, run: of }) => actor !== undefined && of !== 'r-1' && !String(actor).startsWith('job/'))).toEqual([])
  const started = logger.lines.filter(({ message }) => message === 'an effect started')
  expect(started.length).toBeGreaterThan(4)
  for (const line of started) expect(line).toMatchObject({ level: 'debug', actor: expect.any(String) as string, run: 'r-1', effect: expect.stringContaining('@') as string, attempt: 1 })
  expect(logger.lines.filter(({ message }) => message === 'an actor started').map(({ actor }) => actor)).toContain('worker/r-1~step-1')
  expect(new Set(logger.lines.map(({ level }) => level))).toEqual(new Set(['info', 'debug', 'trace', 'warn']))
})
