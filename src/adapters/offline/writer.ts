/**
 * Composes the report. Every sentence of its body is a sentence of a document and ends with its source as `[path:line]`. Lines
 * that begin with `>` are this tool speaking: what it is, and what it did not find; they quote nothing and need no source.
 */
import { cleanLine } from './characters.js'

export interface ReportStep {
  readonly question: string
  /** The form of the question that the findings answer, if it had to be asked in other words. */
  readonly askedAs?: string
  readonly findings: readonly { readonly claim: string; readonly path: string; readonly line: number; readonly confidence?: number }[]
}

export interface ReportInput {
  readonly question: string
  readonly steps: readonly ReportStep[]
  /** Sub-questions without an accepted finding, and why if it is known. Those of `steps` without findings are added. */
  readonly unanswered?: readonly { readonly question: string; readonly reason?: string }[]
}

/** Characters that are shown of a question or reason, a claim and a path: more than any of them has. */
const QUESTION_MAX = 600
const CLAIM_MAX = 1_000
const PATH_MAX = 400

/** The report as Markdown, ending in a line feed. The same input gives the same bytes. */
export function composeReport({ question, steps, unanswered = [] }: ReportInput): string {
  const answered = steps.filter((step) => step.findings.length > 0)
  const open = [...unanswered, ...steps.filter((step) => step.findings.length === 0)].filter((step, index, all) => all.findIndex((other) => other.question === step.question) === index)
  const lines = [`# ${heading(question)}`, '']
  if (answered.length === 0) {
    lines.push('> Not answered: the documents hold no sentence that answers this question and stands alone.', '> ', `> ${METHOD}`)
  } else {
    lines.push(`> ${tally(answered)} ${METHOD}`)
    const leading = leads(answered)
    if (leading.length > 0) lines.push('', '## In short', '', ...leading.map((finding) => `- ${quoted(finding)}`))
    for (const step of answered) {
      const rest = step.findings.filter((finding) => !leading.includes(finding))
      lines.push('', `## ${heading(step.question)}`, '')
      if (step.askedAs !== undefined && step.askedAs !== step.question) lines.push(`> Asked again as: ${heading(step.askedAs)}`, '')
      lines.push(...inOrder(rest).map((finding) => `- ${quoted(finding)}`))
    }
  }
  if (open.length > 0) {
    lines.push('', '## Not answered', '')
    open.forEach((step, index) => {
      const reason = 'reason' in step && step.reason !== undefined ? ` (${heading(firstSentence(step.reason))})` : ''
      lines.push(...(index > 0 ? ['> '] : []), `> Not answered: ${heading(step.question)}${reason}`)
    })
  }
  return `${lines.join('\n')}\n`
}

const METHOD =
  'No language model took part: the sentences were found by word statistics, are quoted word for word without their markup, and were checked by rules against their files. They may miss what the documents say in other words.'

type Finding = ReportStep['findings'][number]

/**
 * The most confident finding of each step that has more than one; it is not said again below. What answers a question only in other
 * words does not answer it in short.
 */
function leads(answered: readonly ReportStep[]): readonly Finding[] {
  return answered.filter((step) => step.findings.length > 1 && (step.askedAs === undefined || step.askedAs === step.question)).map((step) => step.findings.reduce((best, finding) => ((finding.confidence ?? 0) > (best.confidence ?? 0) ? finding : best)))
}

/** Sentences of one document together, in its order; documents in the order of their best finding. */
function inOrder(findings: readonly Finding[]): readonly Finding[] {
  const paths = [...new Set(findings.map((finding) => finding.path))]
  return paths.flatMap((path) => findings.filter((finding) => finding.path === path).toSorted((one, other) => one.line - other.line))
}

function tally(answered: readonly ReportStep[]): string {
  const findings = answered.flatMap((step) => step.findings)
  const files = new Set(findings.map((finding) => finding.path)).size
  return `${count(findings.length, 'sentence')} from ${count(files, 'document')}.`
}

/** Up to the first full stop, without it: reasons are joined explanations, and the first says enough. */
function firstSentence(text: string): string {
  const end = text.slice(0, QUESTION_MAX).search(/\.(?:\s|$)/)
  return end < 0 ? text : text.slice(0, end)
}

function count(number: number, noun: string): string {
  return `${String(number)} ${noun}${number === 1 ? '' : 's'}`
}

function quoted(finding: Finding): string {
  return `${escaped(cleanLine(finding.claim.slice(0, CLAIM_MAX)))} [${sourceOf(finding)}]`
}

/** What stands between the brackets behind a sentence: `path:line`, signs of the path that Markdown would read percent-encoded. */
export function sourceOf({ path, line }: Pick<Finding, 'path' | 'line'>): string {
  return `${cleanLine(path.slice(0, PATH_MAX)).replace(/[[\]<>`]/g, encodeURIComponent)}:${String(line)}`
}

function heading(text: string): string {
  return escaped(cleanLine(text.slice(0, QUESTION_MAX)))
}

/** Signs that Markdown would read as markup. What stands inside a word or between spaces is none and stays readable. */
function escaped(text: string): string {
  return text
    .replace(/\\(?=[!-/:-@[-`{-~])/g, '\\\\')
    .replace(/`|~(?=\S)/g, '\\$&')
    .replace(/<(?=[A-Za-z/!?])/g, '\\<')
    .replace(/&(?=#?\w{1,31};)/g, '\\&')
    .replace(/\](?=[([:])/g, '\\]')
    .replace(/\*(?! )/g, (star, at: number) => (at > 0 && text.charAt(at - 1) === ' ' && text.charAt(at + 1) === ' ' ? star : '\\*'))
    .replace(/(?<![\p{L}\p{N}])_|_(?![\p{L}\p{N}])/gu, '\\_')
    .replace(/^(?=[#>+-]|\* |\[[ xX]\] |\d{1,9}[.)] )/, '\\')
}
