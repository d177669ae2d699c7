// A run may spend so much and no more: before a model is asked, the worst that it can cost must be at hand. What it did cost is on
// record call by call, and every finding with who made it. Of the smaller sum, no researcher's share covers a call.
import { createMesh, defineAgent, defineRun, modelOf } from 'holdfast'
import { MemoryStore } from 'holdfast/memory'
import { offlineModel } from 'holdfast/offline'
import { z } from 'zod'

const scripted = offlineModel({ skills: {
  planner: () => ({ steps: ['what they eat', 'where they sleep'] }),
  researcher: ({ input }) => ({ findings: [`This is ${(input as { task: string }).task}.`] }),
  writer: () => ({ text: 'All about otters.' }),
} })
const model = modelOf(scripted, 'scripted', { input: 2, output: 10 }) // dollars per million tokens
const prompt = ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] })
const common = { input: z.looseObject({}), model, prompt, completionTokensMax: 200 }

const planner = defineAgent({ ...common, name: 'planner', output: z.object({ steps: z.array(z.string()) }) })
const researcher = defineAgent({ ...common, name: 'researcher', output: z.object({ findings: z.array(z.string()) }) })
const writer = defineAgent({ ...common, name: 'writer', output: z.object({ text: z.string() }) })
const research = defineRun({ name: 'research', crew: { planner, worker: researcher, writer }, stepsMax: 2 }) // nothing is verified here

const mesh = await createMesh({ store: new MemoryStore(), runs: [research] }).start()
const dollars = (nano: number) => `$${(nano / 1e9).toFixed(6)}`

for (const [id, usd] of [['r-1', 0.1], ['r-2', 0.02]] as const) {
  const run = await mesh.run(research, { id, goal: 'Tell me about otters.', ceiling: { usd } })
  const { outcome, spent } = await run.output()
  console.log(`with $${usd} the run is ${outcome}; it spent ${dollars(spent.nanoDollars)} on ${spent.calls} calls`)
  for (const { agent, task, cost, tokens } of await run.trace()) console.log(`  ${agent} on ${task}: ${tokens?.input} + ${tokens?.output} tokens, ${dollars(cost?.nanoDollars ?? 0)}`)
  for (const { agent, finding } of await run.findings()) console.log(`  ${agent} found:`, finding)
  for (const { task, reason } of (await run.status())?.unanswered ?? []) console.log('  not answered:', task, `because ${reason}`)
}
await mesh.stop()
