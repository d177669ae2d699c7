/** What the offline model does for each agent of the crew: word statistics and rules, no language model. */
import { composeReport, critique, offlineModel, planQuestion, replanStep, research, type RefusalReason } from '../../adapters/offline/index.js'
import { modelOf, type ModelRef } from '../../mesh/model-call.js'
import type { Reading } from './corpus.js'
import { toJudge, type CriticInput, type PlannerInput, type Sources, type Task, type WriterInput } from './crew.js'

export function offlineResearch(): ModelRef {
  return modelOf(offlineModel({ skills: { planner: plan as never, researcher: find as never, critic: judge as never, writer: write as never } }), 'extractive')
}

interface Given<T> {
  readonly input: T
  readonly gathered: unknown
}

function plan({ input, gathered }: Given<PlannerInput>): { questions: string[] } {
  if (input.kind === 'plan') return { questions: planQuestion(input.question, { maxSteps: input.stepsMax }).map(({ question }) => question) }
  const next = replanStep({
    question: input.task.question,
    tried: input.tried.map(({ question }) => question),
    reasons: input.refused.flatMap(({ reasons }) => reasons as RefusalReason[]),
    accepted: input.accepted,
    passages: (gathered as Reading).passages,
  })
  return { questions: next === undefined ? [] : [next] }
}

function find({ input, gathered }: Given<{ readonly task: Task }>): unknown {
  const { passages, terms } = gathered as Reading
  const findings = research({ question: input.task.question, passages, terms, ...(input.task.exclude === undefined ? {} : { exclude: input.task.exclude }) })
  return { findings: findings.map(({ claim, path, line, heading, confidence }) => ({ claim, path, line, ...(heading === undefined ? {} : { heading }), confidence })) }
}

function judge({ input, gathered }: Given<CriticInput>): unknown {
  const accepted = [...input.accepted]
  return {
    judgements: toJudge(input, gathered as Sources).map(({ finding, source }) => {
      const verdict = critique({ question: input.task.question, finding, source: source ?? undefined, accepted })
      if (verdict.accepted) accepted.push(finding)
      return { accepted: verdict.accepted, reasons: verdict.reasons, explanation: verdict.explanation, confidence: verdict.confidence }
    }),
  }
}

function write({ input }: Given<WriterInput>): unknown {
  return {
    markdown: composeReport({
      question: input.question,
      steps: input.steps.map(({ task, output }) => ({ question: task.asked ?? task.question, ...(task.asked === undefined ? {} : { askedAs: task.question }), findings: output.findings })),
      unanswered: input.unanswered.map(({ task, reason }) => ({ question: task.asked ?? task.question, reason })),
    }),
  }
}
