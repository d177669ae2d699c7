/** The offline agents one after the other, as a run of the mesh lets them work, without the mesh. */
import { readdirSync, readFileSync } from 'node:fs'
import { composeReport, critique, indexDocuments, planQuestion, questionTerms, replanStep, research, searchPassages, type Document, type Finding, type Verdict } from '../../../src/adapters/offline/index.js'

export interface Judged {
  readonly step: string
  /** The form of the step's question that was asked. */
  readonly asked: string
  readonly finding: Finding
  readonly verdict: Verdict
}

export interface Outcome {
  readonly plan: readonly string[]
  readonly judged: readonly Judged[]
  /** Each form that a step was asked in again. */
  readonly replanned: readonly { readonly step: string; readonly asked: string }[]
  readonly unanswered: readonly string[]
  readonly report: string
}

export const accepted = ({ judged }: Outcome): readonly Judged[] => judged.filter(({ verdict }) => verdict.accepted)
export const refused = ({ judged }: Outcome): readonly Judged[] => judged.filter(({ verdict }) => !verdict.accepted)

export async function answer(question: string, documents: readonly Document[], { maxSteps = 8, replansMax = 2 } = {}): Promise<Outcome> {
  const index = await indexDocuments(documents)
  const sources = new Map(documents.map(({ path, text }) => [path, text]))
  const plan = planQuestion(question, { maxSteps })
  const judged: Judged[] = []
  const replanned: { step: string; asked: string }[] = []
  const standing = (): readonly Finding[] => judged.filter(({ verdict }) => verdict.accepted).map(({ finding }) => finding)
  const steps = plan.map((step) => {
    const tried: string[] = []
    let asked: string | undefined = step.question
    while (asked !== undefined) {
      tried.push(asked)
      const passages = searchPassages(index, asked, 40)
      const barred = judged.filter(({ verdict }) => verdict.accepted || verdict.reasons.some((reason) => reason !== 'does-not-answer')).map(({ finding }) => finding)
      const found = research({ question: asked, passages, terms: questionTerms(index, asked), exclude: barred })
      const form = asked
      const own = found.map((finding): Judged => {
        const one = { step: step.question, asked: form, finding, verdict: critique({ question: form, finding, source: sources.get(finding.path), accepted: standing() }) }
        judged.push(one)
        return one
      })
      const findings = own.filter(({ verdict }) => verdict.accepted).map(({ finding }) => finding)
      if (findings.length > 0) return { question: step.question, ...(form === step.question ? {} : { askedAs: form }), findings }
      const reasons = own.flatMap(({ verdict }) => verdict.reasons)
      asked = tried.length <= replansMax ? replanStep({ question: asked, tried, reasons, accepted: standing(), passages }) : undefined
      if (asked !== undefined) replanned.push({ step: step.question, asked })
    }
    return { question: step.question, findings: [] }
  })
  return { plan: plan.map((step) => step.question), judged, replanned, unanswered: steps.filter((step) => step.findings.length === 0).map((step) => step.question), report: composeReport({ question, steps }) }
}

/** The README of each package in `node_modules`, in the order of their names: what `npm start` asks. */
export function readmes(): readonly Document[] {
  const names = readdirSync('node_modules').flatMap((name) => (name.startsWith('@') ? readdirSync(`node_modules/${name}`).map((inner) => `${name}/${inner}`) : name.startsWith('.') ? [] : [name])).toSorted()
  return names.flatMap((name) => {
    const file = readdirSync(`node_modules/${name}`).find((entry) => /^readme\.md$/i.test(entry))
    return file === undefined ? [] : [{ path: `node_modules/${name}/${file}`, text: readFileSync(`node_modules/${name}/${file}`, 'utf8') }]
  })
}

/** Three short files about software that does not exist. */
export function fixtures(): readonly Document[] {
  return ['cache.md', 'client.md', 'queue.md'].map((name) => ({ path: `docs/${name}`, text: readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8') }))
}
