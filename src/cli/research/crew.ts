/**
 * The agents of `holdfast research`: a planner splits the question, researchers read, a critic verifies each finding
 * against its source, a writer composes the report. The same definitions run on a language model and on the offline one.
 */
import { z } from 'zod'
import { sourceOf } from '../../adapters/offline/index.js'
import { whyNotAtLine } from '../../adapters/offline/quotation.js'
import { sentenceSpans } from '../../adapters/offline/sentence-bounds.js'
import type { Verdict } from '../../machines/verdict.js'
import { defineAgent, type Prompt } from '../../mesh/define-agent.js'
import { defineRun, type RunDefinition } from '../../mesh/define-run.js'
import type { ModelRef } from '../../mesh/model-call.js'
import { readingFor, sourceAround, type Material, type Reading } from './corpus.js'
import { externalActions } from './publish.js'
import { reportText } from './report.js'

// ── What the agents hand each other ──

const Task = z.object({
  question: z.string().min(1).max(600),
  /** Where not to look again. */
  exclude: z.array(z.object({ path: z.string(), line: z.number().int(), claim: z.string() })).optional(),
  /** The question of the plan that this one stands for. */
  asked: z.string().optional(),
})
export type Task = z.output<typeof Task>

const Finding = z.object({
  claim: z.string().min(1).describe('One sentence of a passage, word for word.'),
  path: z.string().min(1).describe('The path of the passage.'),
  line: z.number().int().min(1).describe('The line of the passage.'),
  heading: z.string().optional(),
  confidence: z.number().min(0).max(1).describe('How sure it is that the sentence answers the question.'),
})
export type Finding = z.output<typeof Finding>
const Findings = z.object({ findings: z.array(Finding).max(10) })

const PlannerInput = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('plan'), question: z.string(), stepsMax: z.number().int() }),
  z.object({
    kind: z.literal('replan'),
    question: z.string(),
    task: Task,
    reason: z.string(),
    refused: z.array(z.object({ finding: Finding, reasons: z.array(z.string()), explanation: z.string() })),
    accepted: z.array(Finding),
    tried: z.array(Task),
  }),
])
export type PlannerInput = z.output<typeof PlannerInput>
const Questions = z.object({ questions: z.array(z.string().min(1).max(600)).max(20).describe('The sub-questions, each one line that can be understood without the others. None if there is no other way to ask.') })

const ResearcherInput = z.object({ step: z.string(), task: Task })
const CriticInput = z.object({ step: z.string(), task: Task, output: Findings, accepted: z.array(Finding) })
export type CriticInput = z.output<typeof CriticInput>
export const refusalReasons = ['not-at-line', 'does-not-answer', 'cannot-stand-alone', 'repeats'] as const
const Judgements = z.object({
  judgements: z
    .array(z.object({ accepted: z.boolean(), reasons: z.array(z.enum(refusalReasons)), explanation: z.string(), confidence: z.number().min(0).max(1) }))
    .describe('One for each finding, in their order.'),
})
const WriterInput = z.object({
  question: z.string(),
  steps: z.array(z.object({ id: z.string(), task: Task, output: Findings })),
  unanswered: z.array(z.object({ id: z.string(), task: Task, reason: z.string() })),
})
export type WriterInput = z.output<typeof WriterInput>
const Report = z.object({ markdown: z.string().min(1) })

/** What the critic is given of a file for each finding: null if it cannot be read. */
export type Sources = readonly (string | null)[]

// ── Prompts ──

const quoted = (passages: Reading['passages']): string => passages.map(({ path, line, heading, text }) => `[${path}:${line}]${heading === undefined ? '' : ` (${heading})`} ${text}`).join('\n')

function plannerPrompt({ input, goal }: { readonly input: PlannerInput; readonly goal: { readonly text: string } }): Prompt {
  const system = 'You plan research over a set of documents. You split a question into sub-questions that can be researched apart, add nothing that was not asked, and leave a question without parts as it is.'
  if (input.kind === 'plan') return { system, messages: [{ role: 'user', content: `Split this question into at most ${input.stepsMax} sub-questions:\n${goal.text}` }] }
  const why = input.refused.map(({ finding, explanation }) => `- "${finding.claim}": ${explanation}`).join('\n')
  const tried = input.tried.map(({ question }) => `- ${question}`).join('\n')
  return { system, messages: [{ role: 'user', content: `The question as a whole: ${goal.text}\n\nThis sub-question found no answer: ${input.task.question}\nBecause: ${input.reason}\n${why}\n\nIt was asked in these words so far:\n${tried}\n\nAsk it once more in other words (one sub-question), or give none if no other words would help.` }] }
}

function researcherPrompt({ input, gathered }: { readonly input: z.output<typeof ResearcherInput>; readonly gathered: unknown }): Prompt {
  return {
    system: 'You find sentences that answer a question. Take whole sentences of the passages, word for word, each of which stands alone and answers the question. Take at most 3. If none answers it, take none.',
    messages: [{ role: 'user', content: `Question: ${input.task.question}\n\nPassages:\n${quoted((gathered as Reading).passages)}` }],
  }
}

function criticPrompt({ input, gathered }: { readonly input: CriticInput; readonly gathered: unknown }): Prompt {
  const findings = toJudge(input, gathered as Sources)
    .map(({ finding: { claim, path, line }, source }, i) => `Finding ${i + 1}: "${claim}" [${path}:${line}]\nThe file around line ${line}:\n${numbered(source, line)}`)
    .join('\n\n')
  const accepted = input.accepted.map(({ claim }) => `- ${claim}`).join('\n')
  return {
    system: 'You verify findings against their sources. Refuse a finding that does not stand at its line (not-at-line), does not answer the question (does-not-answer), cannot be understood alone (cannot-stand-alone), or repeats one accepted before (repeats). When in doubt, refuse.',
    messages: [{ role: 'user', content: `Question: ${input.task.question}\n\nAccepted before:\n${accepted || '(none)'}\n\n${findings || '(no findings)'}` }],
  }
}

function numbered(source: string | null, line: number): string {
  if (source === null) return '(it cannot be read)'
  const lines = source.split('\n')
  const from = Math.max(0, line - 6)
  return lines.slice(from, line + 5).map((text, i) => `${from + i + 1}: ${text}`).join('\n')
}

function writerPrompt({ input }: { readonly input: WriterInput }): Prompt {
  const steps = input.steps.map(({ task, output }) => `${task.asked ?? task.question}\n${output.findings.map((finding) => `- ${finding.claim} [${sourceOf(finding)}]`).join('\n')}`).join('\n\n')
  const open = input.unanswered.map(({ task }) => `- ${task.asked ?? task.question}`).join('\n')
  return {
    system: 'You write a short report in Markdown. Every sentence outside headings says what a finding says and ends with its source, as given, in square brackets: [path:line]. Say nothing that no finding says. Name what was not answered in lines that begin with "> Not answered:".',
    messages: [{ role: 'user', content: `Question: ${input.question}\n\nFindings:\n${steps || '(none)'}\n\nNot answered:\n${open || '(nothing)'}` }],
  }
}

// ── The crew ──

/** @param models those that a run may name; the offline model's confidence comes from rules and not from itself */
export function researchRun(models: readonly ModelRef[]): RunDefinition {
  const planner = defineAgent({
    name: 'planner',
    input: PlannerInput,
    output: Questions,
    model: models,
    gather: async ({ input, material }) => (input.kind === 'replan' ? readingFor(material as Material, input.task.question) : null),
    prompt: plannerPrompt,
    give: ({ output, input }) => ({ steps: output.questions.map((question) => taskFor(question, input)) }),
  })
  const researcher = defineAgent({
    name: 'researcher',
    input: ResearcherInput,
    output: Findings,
    model: models,
    gather: ({ input, material }) => readingFor(material as Material, input.task.question),
    prompt: researcherPrompt,
    confidence: ({ output, model }) => ({ value: Math.min(1, ...output.findings.map(({ confidence }) => confidence)), source: isOffline(model) ? 'rule' : 'self' }),
    give: ({ output }) => {
      if (output.findings.length === 0) throw new Error('no sentence was found that answers it')
      return output
    },
    verifyWith: 'critic',
  })
  const critic = defineAgent({
    name: 'critic',
    input: CriticInput,
    output: Judgements,
    model: models,
    gather: ({ input, material }) => Promise.all(input.output.findings.map(({ path, line }) => sourceAround(material as Material, path, line))),
    prompt: criticPrompt,
    confidence: ({ output, model }) => ({ value: Math.min(1, ...output.judgements.map(({ confidence }) => confidence)), source: isOffline(model) ? 'rule' : 'self' }),
    give: ({ output, input, gathered, model }) => verdictOf(output, input, gathered as Sources, isOffline(model) ? 'rule' : 'judge'),
  })
  const writer = defineAgent({ name: 'writer', input: WriterInput, output: Report, model: models, prompt: writerPrompt, completionTokensMax: 16_384, give: ({ output, input, model }) => (isOffline(model) ? output : checkedReport(output, input)) })
  return defineRun({
    name: 'research',
    crew: { planner, worker: researcher, checker: critic, writer },
    supervisor: { workingMax: 4, waitingMax: 64 },
    stepsMax: 8,
    replansMax: 2,
    action: (result) => {
      const { publish, out } = result.material as Material
      const text = reportText(result)
      return publish === null ? { name: 'write-report', input: { root: (result.material as Material).root, path: out, text } } : { name: 'post-report', input: { url: publish, text } }
    },
    externalActions: externalActions(),
    approval: ({ material }) => {
      const { publish, out, replaces } = material as Material
      return { why: publish === null ? `it writes the report to ${out}${replaces ? ', in place of the file that is there' : ''}` : `it sends the report to ${publish}` }
    },
  })
}

const isOffline = (model: string): boolean => model.startsWith('offline/')

function taskFor(question: string, input: PlannerInput): Task {
  if (input.kind === 'plan') return { question }
  // What did not answer the question as it was asked may answer it as it is asked now.
  const refused = input.refused.filter(({ reasons }) => reasons.some((reason) => reason !== 'does-not-answer')).map(({ finding: { path, line, claim } }) => ({ path, line, claim }))
  return { question, asked: input.task.asked ?? input.task.question, exclude: [...(input.task.exclude ?? []), ...refused] }
}

/** A finding, and why it is no quotation from its line; undefined if it is one, and there is something to judge. */
interface Checked {
  readonly finding: Finding
  readonly source: string | null
  readonly misquoted: string | undefined
}

/** Every finding, compared with its file by rule: what a model said or made up is no matter of judgement. */
function compared({ output: { findings } }: CriticInput, sources: Sources): readonly Checked[] {
  return findings.map((finding, i) => ({ finding, source: sources[i] ?? null, misquoted: whyNotAtLine(sources[i] ?? undefined, finding.line, finding.claim) }))
}

/** The findings that a critic is asked about, in their order: those that stand at their line. */
export function toJudge(input: CriticInput, sources: Sources): readonly Checked[] {
  return compared(input, sources).filter(({ misquoted }) => misquoted === undefined)
}

/** The judgements on single findings as one verdict on all of them: it is a yes if any of them stands. */
export function verdictOf({ judgements }: z.output<typeof Judgements>, input: CriticInput, sources: Sources, source: 'rule' | 'judge'): Verdict {
  const all = compared(input, sources)
  const judged = all.filter(({ misquoted }) => misquoted === undefined)
  if (judgements.length !== judged.length) throw new Error(`${judgements.length} judgements on ${judged.length} findings`)
  const results = all.map((checked) => {
    const { finding, misquoted } = checked
    if (misquoted !== undefined) return { finding, accepted: false, reasons: ['not-at-line'], explanation: `Refused: the sentence ${misquoted}.` }
    return { ...judgements[judged.indexOf(checked)]!, finding }
  })
  const accepted = results.filter((result) => result.accepted).map(({ finding }) => finding)
  const refused = results.filter((result) => !result.accepted).map(({ finding, reasons, explanation }) => ({ finding, reasons, explanation }))
  return {
    accepted: accepted.length > 0,
    reasons: [...new Set(refused.flatMap(({ reasons }) => reasons))],
    explanation: refused.length === 0 ? 'every finding stands' : [...new Set(refused.map(({ explanation }) => explanation))].join(' '),
    confidence: { value: Math.min(1, ...judgements.map(({ confidence }) => confidence)), source: judged.length === 0 ? 'rule' : source },
    output: { findings: accepted },
    refused,
    sourcesVerified: accepted.map(({ path, line }) => `${path}:${line}`),
    by: 'critic',
  }
}

const notAnswered = /^>\s*(?:Not answered:(.*))?$/
const sourceMark = /\[([^[\]]+:\d+)\]/g

/**
 * Every sentence of a language model's report ends with a source, and with one that was verified. What says nothing
 * needs none: headings, and lines that name what was not answered.
 *
 * @throws Error that names the sentence
 */
export function checkedReport(report: z.output<typeof Report>, { steps, unanswered }: WriterInput): z.output<typeof Report> {
  const known = new Set(steps.flatMap(({ output }) => output.findings.map(sourceOf)))
  const claims = new Set(steps.flatMap(({ output }) => output.findings.map(({ claim }) => plain(claim))))
  const questions = new Set(unanswered.map(({ task }) => plain(task.asked ?? task.question)))
  const unsourced = (text: string): Error => new Error(`the report has a sentence without a source: "${text.trim().slice(0, 80)}"`)
  for (const paragraph of paragraphsOf(report.markdown)) {
    const open = notAnswered.exec(paragraph)
    if (open) {
      const [, question = ''] = open
      if (!questions.has(plain(question)) && sentencesIn(question).length > 1) throw unsourced(question)
      continue
    }
    const heading = /^#{1,6}\s+(.*)$/.exec(paragraph)?.[1]
    if (heading !== undefined) {
      if (/[.!…]["'”’»)\]*_]*$/.test(heading.trim()) || sentencesIn(heading).length > 1) throw unsourced(heading)
      continue
    }
    let from = 0
    for (const mark of paragraph.matchAll(sourceMark)) {
      const text = paragraph.slice(from, mark.index)
      if (!known.has(mark[1]!)) throw new Error(`the report names a source that no finding has: ${mark[1]!}`)
      // A full stop may stand behind the source that it belongs to; a claim is one sentence, whatever stands in it.
      const said = text.replace(/^\s*[.!?…]+(?=\s|$)/, '')
      if (!claims.has(plain(said)) && sentencesIn(said).length > 1) throw unsourced(sentencesIn(said)[0]!)
      from = mark.index + mark[0].length
    }
    if (/[\p{L}\p{N}]/u.test(paragraph.slice(from))) throw unsourced(paragraph.slice(from))
  }
  return report
}

/** The blocks of the Markdown as single lines, without the marks of list items: a sentence may go on in the next line, but not in the next block. */
function paragraphsOf(markdown: string): string[] {
  const paragraphs: string[] = []
  let isOpen = false
  for (const line of markdown.split(/\r\n|\n|\r/)) {
    const text = line.trim()
    const item = /^(?:[-*+]|\d{1,9}[.)])\s+/.exec(text)?.[0]
    const isOwn = /^(?:#{1,6}\s|>)/.test(text)
    if (text !== '' && isOpen && item === undefined && !isOwn) paragraphs.push(`${paragraphs.pop()!} ${text}`)
    else if (text !== '') paragraphs.push(text.slice(item?.length ?? 0))
    isOpen = text !== '' && !isOwn
  }
  return paragraphs
}

function sentencesIn(text: string): string[] {
  const chars = text.replace(/\s+/g, ' ').trim().split('')
  let inCode = false
  const code = chars.map((char) => (char === '`' ? ((inCode = !inCode), true) : inCode))
  return sentenceSpans({ chars, code, lines: chars.map(() => 0) }).map(({ from, to }) => chars.slice(from, to).join(''))
}

/** Without what Markdown adds. */
function plain(text: string): string {
  return text.replace(/[\\*_`]/g, '').replace(/\s+/g, ' ').trim()
}
