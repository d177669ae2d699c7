// A service: runs are begun, watched, decided and read over HTTP, and outlive the process. Kill it with -9 and start it again: it goes
// on. Start as many as you like on one Redis: they share the agents, and each answers for all. npm run example service [folder or redis://...]
import type { Server } from 'node:http'
import { serve } from '@hono/node-server'
import { createMesh, defineAgent, defineRun, isHoldfastError, modelOf, type RunHandle, type RunStatus } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { offlineModel } from 'holdfast/offline'
import { redisStore } from 'holdfast/redis'
import { Hono, type Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { z } from 'zod'
import { answerError, bodyOf, closeConnections, endGently, ending, eventStream } from './http.js'

const model = modelOf(offlineModel({ skills: { // or modelOf(anthropic(), 'claude-sonnet-5-5') from 'holdfast/anthropic'
  planner: ({ input }) => ({ steps: (input as { question: string }).question.split(' and ') }),
  researcher: ({ input }) => ({ findings: [`Somebody knows ${(input as { task: string }).task}.`] }),
  writer: () => ({ text: 'That is known.' }),
} }), 'scripted')
const prompt = ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] })
const agent = (name: string, output: z.ZodType) => defineAgent({ name, input: z.looseObject({}), output, model, prompt, stream: true })
const answer = defineRun({
  name: 'answer', stepsMax: 20, approval: () => ({ why: 'a customer will read it' }),
  crew: { planner: agent('planner', z.object({ steps: z.array(z.string()) })), worker: agent('researcher', z.object({ findings: z.array(z.string()) })), writer: agent('writer', z.object({ text: z.string() })) },
})

const place = process.argv[2] ?? './data'
const mesh = await createMesh({ store: place.startsWith('redis') ? redisStore(place) : lmdbStore(place), runs: [answer] }).start()
const shown = ({ run, goal, state, steps, approval, decision, report, failure }: RunStatus) => ({ id: run, goal, state, steps: steps.map(({ task, state }) => ({ task, state })), asks: state === 'approvalPending' && !decision ? approval : null, decision, report, failure })
const found = async (c: Context): Promise<{ readonly run: RunHandle; readonly status: RunStatus }> => {
  const run = mesh.handle(answer, c.req.param('id')!)
  const status = await run.status()
  if (!status) throw new HTTPException(404, { message: 'There is no such run.' })
  return { run, status }
}

const app = new Hono().onError(answerError).use(closeConnections)
app.post('/runs', async (c) => { // the same key again is the same run
  const { question } = await bodyOf(c, z.object({ question: z.string() }))
  const id = c.req.header('idempotency-key')
  const run = await mesh.run(answer, { goal: question, ...(id === undefined ? {} : { id }) })
  return c.json({ id: run.id }, 202)
})
app.get('/runs/:id', async (c) => c.json(shown((await found(c)).status)))
const eventOf = (status: RunStatus) => ({ id: `${status.state}.${status.steps.map(({ state }) => state[0]).join('')}`, event: status.state, data: JSON.stringify(shown(status)) })
app.get('/runs/:id/events', async (c) => { // who comes back is told what is new to him
  const { run, status } = await found(c)
  const knowsTheEnd = ['done', 'failed'].includes(status.state) && c.req.header('last-event-id') === eventOf(status).id
  return knowsTheEnd ? c.body(null, 204) : eventStream(c, run.progress(), eventOf) // an EventSource comes back after every end but a 204
})
app.get('/runs/:id/tokens', async (c) => { // what its models are writing: docs/streaming.md
  const { run, status } = await found(c)
  const after = c.req.header('last-event-id')
  if (after !== undefined && ['done', 'failed'].includes(status.state)) {
    const rest = run.tokens({ after })
    const { done } = await rest.next()
    await rest.return()
    if (done) return c.body(null, 204)
  }
  return eventStream(c, run.tokens(after === undefined ? {} : { after }), ({ id, type, ...told }) => ({ id, event: type, data: JSON.stringify(told) }))
})
const decided = z.object({ approved: z.boolean(), by: z.string().trim().min(1).max(256), note: z.string().max(10_000).exactOptional(), digest: z.string().min(1).max(256) })
app.post('/runs/:id/decision', async (c) => { // on what was shown, by its digest: what is asked for by now may be something else
  const { approved, ...decision } = await bodyOf(c, decided)
  const { run } = await found(c)
  return c.json(await run[approved ? 'approve' : 'reject'](decision).catch((error: unknown) => {
    throw isHoldfastError(error) && error.code === 'CONFIG' ? new HTTPException(409, { message: error.message }) : error
  }))
})
app.get('/live', (c) => c.text('ok'))
app.get('/ready', async (c) => (ending() ? c.text('it ends', 503) : await mesh.system.halted() ? c.text('halted: see holdfast doctor', 503) : c.text('ready')))

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(process.env['PORT'] ?? 8787) }, ({ port }) => console.log(`http://127.0.0.1:${port} is served by process ${process.pid}`))
endGently(server as Server, 5_000, () => mesh.stop())
