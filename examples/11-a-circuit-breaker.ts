// The large model is out of order. Two calls find that out; then its circuit breaker is open, on all nodes, and everybody else is
// answered by the small one at once. Who was asked, and who was not and why, is on record.
import { createMesh, defineAgent, defineRun, modelOf, ModelError, type ModelClient } from 'holdfast'
import { MemoryStore } from 'holdfast/memory'
import { offlineModel } from 'holdfast/offline'
import { z } from 'zod'

const scripted = offlineModel({ skills: {
  planner: () => ({ steps: ['eat', 'sleep', 'play', 'swim'] }),
  researcher: ({ input }) => ({ claim: `Otters ${(input as { task: string }).task}.` }),
  writer: () => ({ text: 'All about otters.' }),
} })
let asked = 0
const remote: ModelClient = {
  provider: 'remote',
  complete(request, options) {
    if (request.model === 'small') return scripted.complete(request, options)
    asked++
    throw new ModelError('overloaded', 'the large model is overloaded', { retryable: true })
  },
}

const common = { input: z.looseObject({}), prompt: ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] }) }
const planner = defineAgent({ ...common, name: 'planner', output: z.object({ steps: z.array(z.string()) }), model: modelOf(scripted, 'scripted') })
const researcher = defineAgent({ ...common, name: 'researcher', output: z.object({ claim: z.string() }), model: [modelOf(remote, 'large'), modelOf(remote, 'small')] })
const writer = defineAgent({ ...common, name: 'writer', output: z.object({ text: z.string() }), model: modelOf(scripted, 'scripted') })
const research = defineRun({ name: 'research', crew: { planner, worker: researcher, writer }, supervisor: { workingMax: 1 } })

const mesh = await createMesh({ store: new MemoryStore(), runs: [research], policies: { agents: { researcher: { retry: { attemptsMax: 2 } } }, models: { 'remote/large': { breaker: { consecutiveMax: 2, openMs: 60_000 } } } } }).start()
for (const { model, chain } of mesh.policies.explain('researcher')) console.log(model, 'needs a permit of', chain.map(({ kind, scope }) => `the ${kind} of its ${scope}`).join(', '))
const run = await mesh.run(research, { id: 'r-1', goal: 'Tell me about otters.' })
await run.output()
for (const { agent, task, model, error } of await run.trace()) if (agent === 'researcher') console.log(task, model, error ?? 'answered')
console.log(`the large model was asked ${asked} times`)
await mesh.stop()
