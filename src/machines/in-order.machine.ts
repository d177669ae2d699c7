/**
 * Several verifiers, one after the other: each judges what the one before let pass, and the first no ends it. One state
 * for each, by its name.
 */
import { assign, sendParent, sendTo, setup, type AnyActorLogic, type AnyStateMachine } from 'xstate'
import { notJudged, toVerdict, type AgentToVerifier, type VerificationInput, type VerifierToAgent, type Verdict } from './verdict.js'

export interface NamedVerifier {
  /** Unique among them. */
  readonly name: string
  readonly description: string
  readonly logic: AnyActorLogic
}

export interface InOrderContext {
  readonly input: VerificationInput
  /** So far. */
  readonly verdicts: readonly Verdict[]
}

/** What is judged next: what is left of the output. */
function left({ input, verdicts }: InOrderContext): VerificationInput {
  const output = verdicts.findLast((verdict) => verdict.output !== undefined)?.output ?? input.output
  return { ...input, output, confidence: verdicts.at(-1)?.confidence ?? input.confidence }
}

/** All of them as one: the last word counts, what was refused on the way stays refused. */
function joined({ input, verdicts }: InOrderContext): Verdict {
  const last = verdicts.at(-1)!
  const { output } = left({ input, verdicts })
  return {
    ...last,
    ...(last.accepted && output !== input.output ? { output } : {}),
    reasons: [...new Set(verdicts.flatMap(({ reasons }) => reasons))],
    refused: verdicts.flatMap(({ refused = [] }) => refused),
    sourcesVerified: [...new Set(verdicts.flatMap(({ sourcesVerified = [] }) => sourcesVerified))],
    parts: verdicts,
  }
}

export function inOrderMachine(verifiers: readonly NamedVerifier[]): AnyStateMachine {
  const machine = setup({
    types: {
      context: {} as InOrderContext,
      events: {} as AgentToVerifier | VerifierToAgent,
      input: {} as VerificationInput,
      output: {} as Verdict,
    },
    actors: Object.fromEntries(verifiers.map(({ name, logic }) => [name, logic])),
    guards: {
      isAccepted: ({ event }) => toVerdict((event as unknown as { output: unknown }).output).accepted,
    },
    actions: {
      noteVerdict: assign({ verdicts: ({ context, event }) => [...context.verdicts, toVerdict((event as unknown as { output: unknown }).output)] }),
      noteError: assign({ verdicts: ({ context, event }, { by }: { by: string }) => [...context.verdicts, notJudged(by, (event as unknown as { error: { message: string } }).error.message)] }),
      askAgent: sendParent(({ event }) => event),
      answerVerifier: sendTo('verifier', ({ event }) => event),
    },
  })
  const states = verifiers.map(({ name, description }, i) => [
    name,
    {
      description,
      invoke: {
        id: 'verifier',
        src: name,
        input: ({ context }: { context: InOrderContext }) => left(context),
        onDone: [
          { guard: 'isAccepted', target: verifiers[i + 1]?.name ?? 'verified', actions: 'noteVerdict' },
          { target: 'refused', actions: 'noteVerdict' },
        ],
        onError: { target: 'refused', actions: { type: 'noteError', params: { by: name } } },
      },
    },
  ])
  return machine.createMachine({
    id: 'inOrder',
    version: '1',
    description: 'Several verifiers, one after the other; the first no ends it.',
    context: ({ input }: { input: VerificationInput }): InOrderContext => ({ input, verdicts: [] }),
    output: ({ context }: { context: InOrderContext }) => joined(context),
    initial: verifiers[0]!.name,
    on: {
      'call.reserve': { actions: 'askAgent' },
      'call.settle': { actions: 'askAgent' },
      'person.ask': { actions: 'askAgent' },
      'ledger.reserved': { actions: 'answerVerifier' },
      'ledger.refused': { actions: 'answerVerifier' },
      'ledger.pending': { actions: 'answerVerifier' },
      'person.decided': { actions: 'answerVerifier' },
    },
    states: {
      ...(Object.fromEntries(states) as object),
      verified: { description: 'All of them said yes.', type: 'final' },
      refused: { description: 'One of them said no, or could not judge.', type: 'final' },
    },
  } as never) as unknown as AnyStateMachine
}
