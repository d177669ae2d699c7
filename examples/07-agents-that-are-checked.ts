// Agents whose findings another agent verifies, and a result that a person must approve. What the critic refuses is planned anew.
// The model is scripted here; modelOf(anthropic(), 'claude-sonnet-5-5') from 'holdfast/anthropic' takes its place.
import { createMesh, defineAgent, defineRun, modelOf } from 'holdfast'
import { MemoryStore } from 'holdfast/memory'
import { offlineModel } from 'holdfast/offline'
import { z } from 'zod'

const PlanInput = z.object({ kind: z.enum(['plan', 'replan']) })
const Plan = z.object({ steps: z.array(z.string()) })
const Question = z.object({ task: z.string() })
const Findings = z.object({ findings: z.array(z.string()) })
const Judgement = z.object({ sound: z.boolean(), why: z.string() })
const Answers = z.object({ steps: z.array(z.object({ output: Findings })) })
const Report = z.object({ text: z.string() })

const scripted = offlineModel({ skills: {
  planner: ({ input }) => ({ steps: [PlanInput.parse(input).kind === 'plan' ? 'What do otters eat?' : 'What do sea otters eat?'] }),
  researcher: ({ input }) => ({ findings: [Question.parse(input).task.includes('sea') ? 'Sea otters eat urchins.' : 'Otters eat honey.'] }),
  critic: ({ input }) => (JSON.stringify(input).includes('honey') ? { sound: false, why: 'that is bears' } : { sound: true, why: 'it is known' }),
  writer: ({ input }) => ({ text: Answers.parse(input).steps.flatMap(({ output }) => output.findings).join(' ') }),
} })
const model = modelOf(scripted, 'scripted')
const prompt = ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] })

const planner = defineAgent({ name: 'planner', input: PlanInput, output: Plan, model, prompt })
const researcher = defineAgent({ name: 'researcher', input: Question, output: Findings, model, prompt, verifyWith: 'critic' })
const critic = defineAgent({
  name: 'critic', input: z.looseObject({}), output: Judgement, model, prompt,
  give: ({ output }) => ({ accepted: output.sound, reasons: [], explanation: output.why, confidence: { value: 1, source: 'judge' }, by: 'critic' }),
})
const writer = defineAgent({ name: 'writer', input: Answers, output: Report, model, prompt })

const research = defineRun({
  name: 'research',
  crew: { planner, worker: researcher, checker: critic, writer },
  action: ({ report }) => ({ name: 'post', input: report }),
  externalActions: { post: { input: Report, run: ({ input }) => console.log(`posted: ${input.text}`) } },
  approval: () => ({ why: 'all the world will see it' }),
})

const mesh = await createMesh({ store: new MemoryStore(), runs: [research] }).start()
const run = await mesh.run(research, { goal: 'What do otters eat?' })
const { steps, approval } = await run.settled() // a person is asked now
for (const { task, state, reason } of steps) console.log(task, state, reason ?? '')
console.log(`to be approved, because ${approval?.why}:`, approval?.actions)
await run.approve({ by: 'ann' })
console.log((await run.output()).outcome)
await mesh.stop()
