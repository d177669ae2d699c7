// A service: runs are begun, watched, decided and read over HTTP, and outlive the process. Kill it with -9 and start it again: it goes
// on. With two of them on one Redis, the second takes over when the first has gone. npm run example service [folder or redis://...]
import { serve } from '@hono/node-server'
import { createMesh, defineAgent, defineRun, modelOf, type RunStatus } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { offlineModel } from 'holdfast/offline'
import { redisStore } from 'holdfast/redis'
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import { z } from 'zod'

const model = modelOf(offlineModel({ skills: { // or modelOf(anthropic(), 'claude-sonnet-5-5') from 'holdfast/anthropic'
  planner: ({ input }) => ({ steps: (input as { question: string }).question.split(' and ') }),
  researcher: ({ input }) => ({ findings: [`Somebody knows ${(input as { task: string }).task}.`] }),
  writer: () => ({ text: 'That is known.' }),
} }), 'scripted')
const prompt = ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] })
const agent = (name: string, output: z.ZodType) => defineAgent({ name, input: z.looseObject({}), output, model, prompt })
const answer = defineRun({
  name: 'answer', stepsMax: 20, approval: () => ({ why: 'a customer will read it' }),
  crew: { planner: agent('planner', z.object({ steps: z.array(z.string()) })), worker: agent('researcher', z.object({ findings: z.array(z.string()) })), writer: agent('writer', z.object({ text: z.string() })) },
})

const place = process.argv[2] ?? './data'
const mesh = await createMesh({ store: place.startsWith('redis') ? redisStore(place) : lmdbStore(place), runs: [answer] }).start()
const handle = (id: string) => mesh.handle(answer, id)
const shown = ({ run, goal, state, steps, approval, decision, report, failure }: RunStatus) => ({ id: run, goal, state, steps: steps.map(({ task, state }) => ({ task, state })), asks: decision ? null : approval, decision, report, failure })

const app = new Hono()
app.onError((error, c) => c.json({ error: error.message }, 'code' in error && error.code === 'CONFIG' ? 400 : 503))
app.post('/runs', async (c) => { // the same key again is the same run
  const { question } = await c.req.json<{ question: string }>()
  const id = c.req.header('idempotency-key')
  const run = await mesh.run(answer, { goal: question, ...(id ? { id } : {}) })
  return c.json({ id: run.id }, 202)
})
app.get('/runs/:id', async (c) => {
  const status = await handle(c.req.param('id')).status()
  return status ? c.json(shown(status)) : c.json({ error: 'There is no such run.' }, 404)
})
app.get('/runs/:id/events', (c) => streamSSE(c, async (stream) => { // who comes back is told what is new to him
  const seen = c.req.header('last-event-id')
  for await (const status of handle(c.req.param('id')).progress()) {
    if (stream.aborted) return
    const event = { id: `${status.state}.${status.steps.map(({ state }) => state[0]).join('')}`, event: status.state, data: JSON.stringify(shown(status)) }
    if (event.id !== seen) await stream.writeSSE(event)
  }
}))
app.post('/runs/:id/decision', async (c) => {
  const { approved, by, note } = await c.req.json<{ approved: boolean; by: string; note?: string }>()
  return c.json(await handle(c.req.param('id'))[approved ? 'approve' : 'reject']({ by, ...(note ? { note } : {}) }))
})
app.get('/live', (c) => c.text('ok'))
app.get('/ready', (c) => (mesh.system.role === 'owner' ? c.text('ready') : c.text('another process runs the agents', 503)))

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(process.env['PORT'] ?? 8787) }, ({ port }) => console.log(`http://127.0.0.1:${port} is served by process ${process.pid}`))
process.once('SIGTERM', async () => { // no new requests, then hand over
  server.close()
  if ('closeAllConnections' in server) server.closeAllConnections()
  await mesh.stop()
  process.exit(0)
})
