/** Strategies of verification: what each lets pass, what it costs, what stays on record, and that whatever goes wrong is a no. */
import { expect, test } from 'vitest'
import { createActor, fromPromise, toPromise, type AnyStateMachine } from 'xstate'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, isBalanced, isQuoted, modelOf, ModelError, repeatable, type AgentOptions, type Ledger, type Mesh, type ModelRef, type RunStatus, type TraceRecord, type Verdict, type VerificationInput } from '../../src/index.js'
import { verifierOf } from '../../src/mesh/verification.js'
import { World, type Fault } from '../../src/testing/index.js'
import { functionModel } from '../support/function-model.js'

const Any = z.looseObject({})
const Findings = z.object({ findings: z.array(z.object({ claim: z.string(), file: z.string() })) })
type Output = z.output<typeof Findings>
type VerifyWith = NonNullable<AgentOptions<Record<string, unknown>, Output>['verifyWith']>

const dayMs = 86_400_000
const sources: Readonly<Record<string, string>> = { 'a.md': 'The key is\nrotated each “quarter”. Ann may do it.', 'b.md': 'Nobody else.' }
const finding = (claim: string, file = 'a.md') => ({ claim, file })
const good = { findings: [finding('The key is rotated each "quarter".')] }

/** A worker's answers, in order; the last one again and again. */
interface Given {
  readonly verifyWith: VerifyWith | ((other: ModelRef) => VerifyWith)
  readonly answers?: readonly unknown[]
  readonly critic?: (input: { output: Output }) => unknown
  readonly onWrite?: (index: number) => Fault | undefined
  readonly options?: Partial<AgentOptions<Record<string, unknown>, Output>>
  readonly workingMax?: number
  readonly steps?: number
  /** What a worker may spend. */
  readonly calls?: number
}

function stage({ verifyWith, answers = [good], critic, onWrite, options = {}, workingMax = 4, steps = 1, calls = 20 }: Given) {
  let answered = 0
  const client = functionModel(({ task }) => {
    const { agent, input } = task as { agent: string; input: { output: Output } }
    if (agent === 'planner') return { steps: Array.from({ length: steps }, (_, n) => ({ n })) }
    if (agent === 'critic') return critic?.(input)
    if (agent === 'writer') return {}
    const answer = answers[Math.min(answered++, answers.length - 1)]
    if (answer instanceof Error) throw answer
    return answer
  })
  const model = modelOf(client, 'm', { input: 1, output: 5 })
  const other = modelOf(client, 'other', { input: 2, output: 9 })
  const prompt = ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] })
  const agent = (name: string) => defineAgent({ name, input: Any, output: Any, model, prompt })
  const job = defineRun({
    name: 'job',
    crew: { planner: agent('planner'), worker: defineAgent({ name: 'worker', input: Any, output: Findings, model, prompt, completionTokensMax: 500, ...options, verifyWith: typeof verifyWith === 'function' ? verifyWith(other) : verifyWith }), writer: agent('writer'), checker: agent('critic') },
    replansMax: 0,
    supervisor: { workingMax },
    grants: { worker: { calls } },
  })
  let mesh: Mesh
  const world = new World({ suspectMax: Infinity, create: (given) => (mesh = createMesh({ ...given, runs: [job], policies: { agents: { worker: { retry: { attemptsMax: 2 } }, '*': { retry: { backoff: { firstMs: 1_000, jitter: 0 } } } } } })), ...(onWrite ? { onWrite: ({ index }) => onWrite(index) } : {}) })
  return {
    world,
    client,
    run: () => mesh.handle(job, 'r'),
    start: () => mesh.run(job, { id: 'r', goal: 'why', ceiling: { usd: 10 }, material: sources }),
    async crash() {
      world.crash()
      await world.start()
      await world.settled()
    },
  }
}

/** What became of the one step. */
async function play(given: Given): Promise<{ readonly status: RunStatus; readonly verdict: Verdict | null; readonly reason: string | null; readonly trace: readonly TraceRecord[]; readonly asked: number }> {
  const { world, run, start, client } = stage(given)
  await world.start()
  await start()
  await world.advance(60_000)
  const status = (await run().status())!
  const trace = (await run().trace()).filter(({ agent }) => agent === 'worker')
  await world.stop()
  const [step] = status.steps
  return { status, verdict: step!.verdict, reason: step!.reason, trace, asked: client.requests.filter(({ task }) => (task as { agent: string }).agent === 'worker').length }
}

const citations = ({ output }: { output: Output }) => output.findings.map((each) => ({ finding: each, source: each.file, quote: each.claim }))
const read = ({ source, material }: { source: string; material: unknown }): string | null => (material as typeof sources)[source] ?? null
const bySources = { strategy: 'sources', citations, read } as const

// ── Sources ──

test('what stands in its source is verified by rule, whatever its white space and quotation marks', async () => {
  const { verdict, trace, asked } = await play({ verifyWith: bySources })
  expect(verdict).toMatchObject({ accepted: true, by: 'rule', confidence: { value: 1, source: 'rule' }, sourcesVerified: ['a.md'], refused: [] })
  expect(trace).toHaveLength(1)
  expect(trace[0]).toMatchObject({ verifiedBy: 'rule', accepted: true, sourcesVerified: ['a.md'], verdicts: [{ by: 'rule', accepted: true }] })
  expect(asked).toBe(1)
})

test('a quotation that is not there, a source that is not there, and an output without any source are refused', async () => {
  expect((await play({ verifyWith: bySources, answers: [{ findings: [finding('The key is eaten.')] }] })).verdict).toMatchObject({ accepted: false, reasons: ['not-in-source'], explanation: '"The key is eaten." is not in a.md', confidence: { value: 0, source: 'rule' } })
  expect((await play({ verifyWith: bySources, answers: [{ findings: [finding('Nobody else.', 'c.md')] }] })).verdict).toMatchObject({ accepted: false, reasons: ['no-such-source'] })
  const none = await play({ verifyWith: bySources, answers: [{ findings: [] }] })
  expect(none.verdict).toMatchObject({ accepted: false, reasons: ['no-source'] })
  expect(none.reason).toBe('it names no source')
})

test('with `keep` the findings that stand pass, and the others are on record as refused', async () => {
  const answers = [{ findings: [finding('Ann may do it.'), finding('Bob may do it.'), finding('Nobody else.', 'b.md')] }]
  const { status, verdict } = await play({ verifyWith: { ...bySources, keep: ({ findings }) => ({ findings: findings as Output['findings'] }) }, answers })
  expect(verdict).toMatchObject({ accepted: true, sourcesVerified: ['a.md', 'b.md'], refused: [{ finding: finding('Bob may do it.'), reasons: ['not-in-source'] }] })
  expect(status.steps[0]!.output).toEqual({ findings: [finding('Ann may do it.'), finding('Nobody else.', 'b.md')] })
  const all = await play({ verifyWith: { ...bySources, keep: ({ findings }) => ({ findings: findings as Output['findings'] }) }, answers: [{ findings: [finding('Bob may do it.')] }] })
  expect(all.verdict).toMatchObject({ accepted: false, confidence: { value: 0, source: 'rule' } })
})

test('a check of sources that throws, gives nonsense or takes too long is a no, and says why', async () => {
  const cases: readonly [Record<string, unknown>, RegExp][] = [
    [{ read: () => Promise.reject(new Error('EIO: the disk')) }, /EIO: the disk/],
    [{ read: () => 5 }, /read: a\.md: expected its text, or null, got 5/],
    [{ read: () => new Promise(() => {}), deadlineMs: 5_000 }, /could not be read in time/],
    [{ citations: () => { throw new Error('no idea') } }, /no idea/],
    [{ citations: () => 'all of it' }, /citations: expected a list, got "all of it"/],
    [{ citations: () => [{ finding: 1 }] }, /citations\[0\]\.source: expected a text/],
    [{ stands: () => Promise.resolve(true) }, /stands: expected its result at once/],
    [{ keep: () => { throw new Error('cannot be kept') } }, /cannot be kept/],
  ]
  for (const [more, why] of cases) {
    const answers = 'keep' in more ? [{ findings: [...good.findings, finding('no')] }] : [good]
    const { verdict, reason, trace } = await play({ verifyWith: { ...bySources, ...more } as never, answers })
    expect(verdict, String(why)).toMatchObject({ accepted: false, by: 'rule', reasons: ['not-judged'], explanation: expect.stringMatching(why) as string })
    expect(reason).toMatch(why)
    expect(trace[0]).toMatchObject({ accepted: false, verdicts: [{ accepted: false }], error: expect.stringMatching(why) as string })
  }
  // Only a plain yes is one.
  expect((await play({ verifyWith: { ...bySources, stands: () => 'yes' as never } })).verdict!.accepted).toBe(false)
})

test('nothing that was refused gets through by what `keep` gives', async () => {
  const answers = [{ findings: [...good.findings, finding('Keys are eaten.')] }]
  for (const [keep, why] of [[() => undefined, /keep: expected an output, got undefined/], [() => ['x'], /keep does not fit/], [() => ({ findings: [finding('x'.repeat(900_000))] }), /keep.* bytes/], [() => ({ findings: () => 1 }), /keep/]] as const) {
    const { verdict, status } = await play({ verifyWith: { ...bySources, keep: keep as never }, answers })
    expect(verdict, String(keep)).toMatchObject({ accepted: false, reasons: ['not-judged'], explanation: expect.stringMatching(why) as string })
    expect(status.state).toBe('done')
  }
  // A finding stands on all that it quotes, whether or not it is given as the same object.
  const twice = ({ output }: { output: Output }) => output.findings.flatMap((each) => [{ finding: { ...each }, source: each.file, quote: each.claim }, { finding: { ...each }, source: each.file, quote: 'MADE UP' }])
  expect((await play({ verifyWith: { ...bySources, citations: twice, keep: ({ findings }) => ({ findings: findings as Output['findings'] }) } })).verdict).toMatchObject({ accepted: false, confidence: { value: 0, source: 'rule' } })
  const { verdict } = await play({ verifyWith: { ...bySources, keep: ({ findings }) => ({ findings: findings as Output['findings'] }) }, answers: [{ findings: [...good.findings, finding('')] }] })
  expect(verdict).toMatchObject({ accepted: true, output: good })
})

test('isQuoted: what is nothing is nowhere', () => {
  expect(isQuoted({ quote: 'ann  may', text: 'x ann\n\tmay y' })).toBe(true)
  expect(isQuoted({ quote: 'ﬁne', text: 'fine' })).toBe(true)
  expect(isQuoted({ quote: 'co\u00adoperate', text: 'cooperate' })).toBe(true)
  for (const quote of ['', ' \n', '\u200b']) expect(isQuoted({ quote, text: 'anything' })).toBe(false)
  expect(isQuoted({ quote: 'Ann', text: 'ann' })).toBe(false)
})

// ── Rederivation ──

const swapped = { findings: [{ file: 'a.md', claim: good.findings[0]!.claim }] }
const different = { findings: [finding('Ann may do it.')] }

test('what is derived again and comes to the same is verified; each derivation is a call with its cost in ledger and trace', async () => {
  const { status, verdict, trace, asked } = await play({ verifyWith: { strategy: 'rederivation', times: 2 }, answers: [good, swapped, good] })
  expect(verdict).toMatchObject({ accepted: true, by: 'rederivation', confidence: { value: 1, source: 'consistency' }, explanation: '3 of 3 derivations agree' })
  expect(asked).toBe(3)
  expect(trace.map(({ attempt, accepted, verifiedBy }) => [attempt, accepted, verifiedBy])).toEqual([
    ['call.1', true, 'rederivation'],
    ['rederivation-1.1', true, null],
    ['rederivation-2.1', true, null],
  ])
  const worker = status.members.find(({ machine }) => machine === 'worker')!
  expect(worker.spent).toEqual(trace.reduce((sum, { cost }) => ({ tokens: sum.tokens + cost!.tokens, calls: sum.calls + cost!.calls, nanoDollars: sum.nanoDollars + cost!.nanoDollars }), { tokens: 0, calls: 0, nanoDollars: 0 }))
  expect(worker.spent.calls).toBe(3)
})

test('the model is not shown the output that it derives again', async () => {
  const { world, client, start } = stage({ verifyWith: { strategy: 'rederivation' } })
  await world.start()
  await start()
  await world.advance(60_000)
  const [first, again] = client.requests.filter(({ task }) => (task as { agent: string }).agent === 'worker')
  expect(again!.messages).toEqual(first!.messages)
  expect(again!.task).toEqual(first!.task)
  await world.stop()
})

test('one that differs is a no, unless enough agree; and no more is derived than the verdict needs', async () => {
  const one = await play({ verifyWith: { strategy: 'rederivation', times: 5 }, answers: [good, different] })
  expect(one.verdict).toMatchObject({ accepted: false, reasons: ['disagreement'], confidence: { value: 0.5, source: 'consistency' } })
  expect(one.asked).toBe(2)
  expect(one.trace[1]).toMatchObject({ accepted: false, reasons: ['disagreement'], output: different })
  const most = await play({ verifyWith: { strategy: 'rederivation', times: 4, agreement: 0.6 }, answers: [good, different, good, good, different] })
  expect(most.verdict).toMatchObject({ accepted: true, confidence: { value: 0.75 }, explanation: '3 of 4 derivations agree' })
  expect(most.asked).toBe(4)
})

test('a bound that the first derivation alone would meet needs another one all the same', async () => {
  expect((await play({ verifyWith: { strategy: 'rederivation', times: 1, agreement: 0.5 }, answers: [good, new ModelError('invalid-request', 'down', { retryable: false })] })).verdict!.accepted).toBe(false)
  expect((await play({ verifyWith: { strategy: 'rederivation', times: 2, agreement: 0.3 }, answers: [good, different, different] })).verdict!.accepted).toBe(false)
  const second = await play({ verifyWith: { strategy: 'rederivation', times: 2, agreement: 0.3 }, answers: [good, different, good] })
  expect(second.verdict).toMatchObject({ accepted: true, explanation: '2 of 3 derivations agree' })
})

test('derivations that fail agree with nothing, and are charged', async () => {
  for (const [answer, why] of [[new ModelError('invalid-request', 'too odd', { retryable: false }), /too odd/], [{ finding: 1 }, /does not fit worker's schema/], ['Sure!', /not JSON/]] as const) {
    const { verdict, trace, status } = await play({ verifyWith: { strategy: 'rederivation' }, answers: [good, answer] })
    expect(verdict).toMatchObject({ accepted: false, reasons: ['not-judged'], explanation: expect.stringMatching(why) as string, confidence: { value: null, source: 'missing' } })
    expect(trace).toHaveLength(2)
    expect(status.members.find(({ machine }) => machine === 'worker')!.spent.calls).toBe(2)
  }
  const mixed = await play({ verifyWith: { strategy: 'rederivation', times: 2, agreement: 0.9 }, answers: [good, good, 'Sure!'] })
  expect(mixed.verdict).toMatchObject({ accepted: false, reasons: ['disagreement'], explanation: expect.stringMatching(/^2 of 3 derivations agree, and there was none once: .*not JSON/) as string })
})

test('a budget that does not cover another derivation is a no', async () => {
  const { verdict, status } = await play({ verifyWith: { strategy: 'rederivation', times: 3 }, calls: 2 })
  expect(verdict).toMatchObject({ accepted: false, explanation: expect.stringMatching(/the budget does not cover another attempt/) as string })
  expect(status.members.find(({ machine }) => machine === 'worker')!.spent.calls).toBe(2)
})

test('other models may derive it, and `agrees` may say what is the same', async () => {
  const { trace, status } = await play({ verifyWith: (other) => ({ strategy: 'rederivation', model: other }) })
  expect(trace.map(({ model }) => model)).toEqual(['test/m', 'test/other'])
  expect(status.members.find(({ machine }) => machine === 'worker')!.spent.nanoDollars).toBe(trace.reduce((sum, { cost }) => sum + cost!.nanoDollars, 0))

  const given: Given = { verifyWith: { strategy: 'rederivation', agrees: ({ output, other: another, input }) => output.findings.length === another.findings.length && 'step' in input }, answers: [good, different] }
  expect((await play(given)).verdict).toMatchObject({ accepted: true })
  const throws = await play({ verifyWith: { strategy: 'rederivation', agrees: () => { throw new Error('no measure') } } })
  expect(throws.verdict).toMatchObject({ accepted: false, explanation: expect.stringMatching(/no measure/) as string })
  expect((await play({ verifyWith: { strategy: 'rederivation', agrees: () => 1 as never } })).verdict!.accepted).toBe(false)
})

// ── A person ──

const bySomebody = { strategy: 'person', why: ({ output }: { output: Output }) => `${output.findings.length} finding(s)` } as const

test('a person is shown what is judged, and what they say is the verdict', async () => {
  for (const approved of [true, false]) {
    const { world, run, start } = stage({ verifyWith: bySomebody })
    await world.start()
    await start()
    const settled = run().settled()
    await world.advance(60_000)
    expect((await settled).members.find(({ machine }) => machine === 'worker')).toMatchObject({ awaitsPerson: true })
    const [pending, ...others] = await run().pending()
    expect(others).toEqual([])
    expect(pending).toMatchObject({ address: 'worker/r~step-1', why: '1 finding(s)', actions: [], output: good })
    const snapshot = (await world.system.actorAt('worker/r~step-1').snapshot()) as unknown as { value: unknown }
    expect(snapshot.value).toBe('awaitingVerification')

    // Neither another output nor nobody decides anything.
    await world.system.actorAt(pending!.address).send({ type: 'approval.decide', digest: 'another', approved: true, by: 'eve' } as never)
    await world.system.actorAt(pending!.address).send({ type: 'approval.decide', digest: pending!.digest, approved: true } as never)
    await world.settled()
    expect(await run().pending()).toHaveLength(1)

    const decision = run()[approved ? 'approve' : 'reject']({ by: 'ann', note: approved ? '' : 'it is too old' })
    await world.advance(1_000)
    expect(await decision).toMatchObject({ approved, by: 'ann' })
    const status = (await run().status())!
    expect(status.steps[0]).toMatchObject(approved ? { state: 'done', verdict: { accepted: true, by: 'ann', confidence: { value: 1, source: 'human' } } } : { state: 'unanswered', reason: 'it is too old', verdict: { accepted: false, by: 'ann', reasons: ['rejected'] } })
    expect(status.members.every(({ awaitsPerson }) => !awaitsPerson)).toBe(true)
    expect((await run().trace()).find(({ agent }) => agent === 'worker')).toMatchObject({ verifiedBy: 'ann', accepted: approved, confidence: { value: approved ? 1 : 0, source: 'human' } })
    expect(status.state).toBe('done')
    await world.stop()
  }
})

test('a person who says nothing has said no', async () => {
  const { world, run, start } = stage({ verifyWith: { ...bySomebody, deadlineMs: 3 * dayMs } })
  await world.start()
  await start()
  await world.advance(3 * dayMs - 1)
  expect(await run().pending()).toHaveLength(1)
  await world.advance(60_000)
  expect(await run().pending()).toEqual([])
  expect((await run().status())!.steps[0]).toMatchObject({ state: 'unanswered', verdict: { accepted: false, reasons: ['expired'], by: 'nobody' } })
  await world.stop()
})

test('a person need not be asked why in vain: a question that cannot be put is a no', async () => {
  for (const why of [() => { throw new Error('no words') }, () => '', () => Promise.resolve('later')]) {
    const { verdict } = await play({ verifyWith: { strategy: 'person', why: why as never } })
    expect(verdict).toMatchObject({ accepted: false, reasons: ['not-judged'] })
  }
})

test('whoever waits for a person yields its place to others', async () => {
  const { world, client, run, start } = stage({ verifyWith: bySomebody, workingMax: 1, steps: 3 })
  await world.start()
  await start()
  await world.advance(60_000)
  expect(client.requests.filter(({ task }) => (task as { agent: string }).agent === 'worker')).toHaveLength(3)
  expect((await run().pending()).map(({ address }) => address)).toEqual(['worker/r~step-1', 'worker/r~step-2', 'worker/r~step-3'])
  await expect(run().approve({ by: 'ann' })).rejects.toThrow(/asks for 3 decisions; give the digest of one/)
  for (const { digest } of await run().pending()) {
    const decision = run().approve({ by: 'ann', digest })
    await world.advance(1_000)
    await decision
  }
  expect((await run().status())!.state).toBe('done')
  await world.stop()
})

test('settled waits for the next question once one is answered', async () => {
  const { world, run, start } = stage({ verifyWith: bySomebody, steps: 2 })
  await world.start()
  await start()
  await world.advance(60_000)
  const [first, second] = await run().pending()
  for (const { digest } of [first!, second!]) {
    const decision = run().approve({ by: 'ann', digest })
    await world.advance(1_000)
    await decision
  }
  const settled = run().settled()
  await world.advance(1_000)
  expect((await settled).state).toBe('done')
  await world.stop()
})

test('an approval after a person has verified is another decision', async () => {
  const { world, run, start } = stage({ verifyWith: bySomebody, options: { approval: () => ({ why: 'it goes out' }) } })
  await world.start()
  await start()
  await world.advance(60_000)
  const [verification] = await run().pending()
  const verified = run().approve({ by: 'ann', digest: verification!.digest })
  await world.advance(1_000)
  await verified
  const [approval] = await run().pending()
  expect(approval).toMatchObject({ why: 'it goes out', output: good })
  expect(approval!.digest).not.toBe(verification!.digest)
  // The first decision, said again, decides nothing else.
  await world.system.actorAt('worker/r~step-1').send({ type: 'approval.decide', digest: verification!.digest, approved: true, by: 'ann' } as never)
  await world.settled()
  expect(await run().pending()).toHaveLength(1)
  const approved = run().reject({ by: 'bob' })
  await world.advance(1_000)
  expect(await approved).toMatchObject({ by: 'bob', approved: false })
  expect((await run().status())!.steps[0]).toMatchObject({ state: 'unanswered', reason: 'bob rejected it', verdict: { accepted: true, by: 'ann' } })
  await world.stop()
})

test('what a person has decided stays decided, also while others still judge (I10), and another output is another question', async () => {
  const digests: string[] = []
  for (const answer of [good, different]) {
    const { world, run, start } = stage({ verifyWith: [bySomebody, repeatable<Verdict, VerificationInput>(() => new Promise(() => {}))], answers: [answer] })
    await world.start()
    await start()
    await world.advance(60_000)
    const [{ digest, address } = { digest: '', address: '' }] = await run().pending()
    digests.push(digest)
    const decision = run().approve({ by: 'ann' })
    await world.advance(1_000)
    await decision
    const answered = world.system.actorAt(address).ask({ type: 'approval.decide', digest, approved: false, by: 'bob' } as never, { deadlineMs: 10_000 })
    await world.advance(1_000)
    expect(await answered).toMatchObject({ decision: { approved: true, by: 'ann' }, pending: null })
    const { context } = (await world.system.actorAt(address).snapshot()) as unknown as { context: { decision: unknown } }
    expect(context.decision).toMatchObject({ approved: true, by: 'ann' })
    await world.stop()
  }
  expect(new Set(digests).size).toBe(2)
})

// ── Several ──

const yes = (by: string, more: Partial<Verdict> = {}): Verdict => ({ accepted: true, reasons: [], explanation: `${by} agrees`, confidence: { value: 0.9, source: 'judge' }, by, ...more })

test('several judge in order what the one before let pass, and all of it is on record', async () => {
  const seen: unknown[] = []
  const own = repeatable<Verdict, VerificationInput>(({ input: { output } }) => (seen.push(output), yes('own')))
  const answers = [{ findings: [finding('Ann may do it.'), finding('Bob may do it.'), finding('Nobody else.', 'b.md')] }]
  const kept = { findings: [finding('Ann may do it.'), finding('Nobody else.', 'b.md')] }
  const last = { findings: [finding('Ann may do it.')] }
  const { status, verdict, trace } = await play({
    verifyWith: [{ ...bySources, keep: ({ findings }) => ({ findings: findings as Output['findings'] }) }, 'critic', own],
    critic: ({ output }) => (seen.push(output), yes('critic', { output: last, refused: [{ finding: kept.findings[1], reasons: ['beside-the-point'], explanation: 'it is' }] })),
    answers,
  })
  expect(seen).toEqual([kept, last])
  expect(verdict).toMatchObject({ accepted: true, by: 'own', output: last, sourcesVerified: ['a.md', 'b.md'], refused: [{ reasons: ['not-in-source'] }, { reasons: ['beside-the-point'] }] })
  expect(verdict!.parts!.map(({ by }) => by)).toEqual(['rule', 'critic/r~step-1.check', 'own'])
  expect(status.steps[0]!.output).toEqual(last)
  expect(trace[0]!.verdicts.map(({ by, accepted }) => [by, accepted])).toEqual([['rule', true], ['critic/r~step-1.check', true], ['own', true]])
})

test('the first no ends it: whoever comes later is not asked', async () => {
  let asked = 0
  const own = repeatable<Verdict, VerificationInput>(() => (asked++, yes('own')))
  const refused = await play({ verifyWith: [bySources, own], answers: [{ findings: [finding('No.')] }] })
  expect(refused.verdict).toMatchObject({ accepted: false, by: 'rule', parts: [{ by: 'rule' }] })
  expect(asked).toBe(0)
  for (const [broken, why] of [[repeatable<Verdict, VerificationInput>(() => Promise.reject(new Error('down'))), 'not judged: down'], [repeatable<Verdict, VerificationInput>(() => ({ accepted: 'yes' }) as never), 'whoever verifies gave no verdict']] as const) {
    const { verdict, reason } = await play({ verifyWith: [bySources, broken, own] })
    expect(verdict).toMatchObject({ accepted: false, parts: [{ accepted: true, by: 'rule' }, { accepted: false }] })
    expect(reason).toBe(why)
  }
  expect(asked).toBe(0)
})

test.each(['verified', 'refused', 'critic.of.keys'])('an agent of the name %s is asked like any other', async (name) => {
  const strategies = [bySources, name]
  const asked: string[] = []
  const judged = {
    agent: 'worker', version: '1', deadlineMs: 1_000, inputOf: () => ({}), outputOf: (_: string, value: unknown) => value, materialOf: () => Promise.resolve(sources),
    mayAct: () => Promise.resolve(), gather: undefined as never, call: undefined as never, callFor: undefined as never, read: undefined as never,
  }
  const machine = verifierOf(strategies as never, judged) as AnyStateMachine
  const silent = Object.fromEntries(Object.keys((machine as unknown as { implementations: { actors: object } }).implementations.actors).map((src) => [src, fromPromise(() => (asked.push(src), Promise.resolve(src === 'sources' ? yes('rule') : { ...yes('critic'), accepted: false })))]))
  const actor = createActor(machine.provide({ actors: silent } as never), { input: { task: {}, output: good, confidence: {} } as never }).start()
  const { accepted } = (await toPromise(actor)) as Verdict
  expect(accepted).toBe(false)
  expect(asked).toHaveLength(2)
  actor.stop()
})

test('two of a kind are told apart', async () => {
  const { trace, verdict } = await play({ verifyWith: [{ strategy: 'rederivation' }, { strategy: 'rederivation', times: 2 }] })
  expect(verdict!.accepted).toBe(true)
  expect(trace.map(({ attempt }) => attempt)).toEqual(['call.1', 'rederivation-1.1', 'rederivation-2-1.1', 'rederivation-2-2.1'])
})

test('what cannot be a strategy is refused where it is given', () => {
  const wrong: readonly [unknown, RegExp][] = [
    [5, /^agent worker: verifyWith: expected the name of an agent, a strategy, or an actor such as repeatable\(...\) gives, got 5/],
    [[], /verifyWith: expected a list of at least 1/],
    [['critic', { strategy: 'vibes' }], /verifyWith\[1\]\.strategy: expected "sources" or "rederivation" or "person", got "vibes"/],
    [{ strategy: 'sources' }, /verifyWith\.citations: expected a function, got undefined/],
    [{ ...bySources, deadlineMs: 0 }, /verifyWith\.deadlineMs: expected a whole number/],
    [{ strategy: 'rederivation', times: 0 }, /verifyWith\.times: expected a whole number from 1 to 100, got 0/],
    [{ strategy: 'rederivation', agreement: 0 }, /verifyWith\.agreement: expected a number above 0/],
    [{ strategy: 'rederivation', model: 'opus' }, /verifyWith\.model: expected a model/],
    [{ strategy: 'person' }, /verifyWith\.why: expected a text/],
    [{ strategy: 'person', why: 'so', quorum: 2 }, /verifyWith\.quorum: there is no such option/],
    ['not an id', /verifyWith/],
  ]
  for (const [verifyWith, why] of wrong) expect(() => stage({ verifyWith: (() => verifyWith) as never }), String(why)).toThrow(why)
})

// ── Crashes ──

test('killed before and after every durable write, verification comes to the same end and every ledger balances', async () => {
  const given: Given = { verifyWith: [{ ...bySources, keep: ({ findings }) => ({ findings: findings as Output['findings'] }) }, { strategy: 'rederivation', agrees: ({ other }) => other.findings.length > 0 }, 'critic', bySomebody], critic: () => yes('critic'), answers: [{ findings: [...good.findings, finding('Bob may do it.')] }] }
  /** Plays it to its end, whatever kills its processes. */
  async function playKilled(onWrite?: (index: number) => Fault | undefined): Promise<{ readonly writes: number; readonly end: unknown; readonly kills: number }> {
    const { world, run, start } = stage({ ...given, ...(onWrite ? { onWrite } : {}) })
    const alive = async (): Promise<void> => {
      while (!world.alive) await world.start()
    }
    for (let hour = 0; hour < 48; hour++) {
      await alive()
      void start().catch(() => {})
      await world.advance(1_800_000)
      await alive()
      for (const { address, digest } of await run().pending()) void world.system.actorAt(address).send({ type: 'approval.decide', digest, approved: true, by: 'ann' } as never, { id: `decide-${digest}` }).catch(() => {})
      await world.advance(1_800_000)
      await alive()
      const ledgers = await Promise.all(['job/r', 'worker/r~step-1'].map((address) => world.system.actorAt(address).snapshot().catch(() => undefined)))
      for (const snapshot of ledgers) if (snapshot) expect(isBalanced((snapshot as unknown as { context: { ledger: Ledger } }).context.ledger)).toBe(true)
      const status = await run().status()
      if (status?.state !== 'done') continue
      const { verdict, output } = status.steps[0]!
      const end = { output, accepted: verdict?.accepted, refused: verdict?.refused, by: verdict?.parts?.map(({ by, accepted }) => [by, accepted]), overrun: status.overrun }
      await world.stop()
      return { writes: world.writes, end, kills: world.generation - 1 }
    }
    throw new Error('it does not end')
  }
  const undisturbed = await playKilled()
  expect(undisturbed.end).toMatchObject({ output: good, accepted: true, by: [['rule', true], ['rederivation', true], ['critic/r~step-1.check', true], ['ann', true]], refused: [{ reasons: ['not-in-source'] }], overrun: { calls: 0 } })
  let killed = 0
  for (let index = 0; index < undisturbed.writes; index++) {
    for (const side of ['kill-before', 'kill-after'] as const) {
      const { end, kills } = await playKilled((at) => (at === index ? side : undefined))
      expect(end, `${side} write ${index}`).toEqual(undisturbed.end)
      killed += kills
    }
  }
  console.log(`verification: ${undisturbed.writes} writes, ${killed} kills`)
  expect(killed).toBeGreaterThanOrEqual(undisturbed.writes)
})
