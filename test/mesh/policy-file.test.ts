/** Policies in a file: what is wrong is pointed at, editors are told the same, and a new file holds from the next call on. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { policyFile } from '../../src/adapters/file/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { createMesh, defineAgent, modelOf, ModelError, type AgentOutput, type AgentTask, type Logger, type Mesh, type PolicySource } from '../../src/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { parseJsonText } from '../../src/mesh/json-text.js'
import { issuesIn } from '../../src/mesh/policies.js'
import { issueLine, policyFileSchema, readPolicies } from '../../src/mesh/policy-text.js'
import { World } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'
import { functionModel } from '../support/function-model.js'

const linesOf = (text: string): string[] => readPolicies(text).issues.map((issue) => issueLine('p.json', issue))

describe('what is wrong with a file is told with its line and column', () => {
  const wrong: readonly (readonly [text: string, lines: readonly (string | RegExp)[]])[] = [
    ['', ['p.json:1:1: expected a value, found the end of the text']],
    ['{\n  "models": {},\n}', ['p.json:3:1: expected another name after the comma, found }']],
    ['{ // mine\n}', ['p.json:1:3: expected a name in double quotes, found // (JSON has no comments)']],
    ["{ 'models': {} }", ["p.json:1:3: expected a name in double quotes, found ' (texts stand in double quotes)"]],
    ['{ "models": { "x/m": { "breaker": { "openMs": 030 } } } }', ['p.json:1:47: expected a value, found 030']],
    ['{\n  "agents": { "a": { "priority": 1 } },\n  "agents": {}\n}', ['p.json:3:3: "agents" stands here a second time; only one of the two could hold']],
    ['{ "agent": {} }', ['p.json:1:3: agent: there is no such policy or figure, did you mean "agents"? (there are: providers, models, agents, tenants, tools)']],
    [
      '{\n  "models": {\n    "x/m": { "breaker": { "openMS": 5, "probesMax": 0 } }\n  },\n  "agents": { "a": { "retry": { "attempts": 3 }, "whenOpen": "later" } }\n}',
      [
        /^p\.json:3:27: models\.x\/m\.breaker\.openMS: there is no such policy or figure, did you mean "openMs"\? \(there are: windowMs, callsMin, /,
        /^p\.json:3:40: models\.x\/m\.breaker\.probesMax: too small: expected number to be >=1, got 0$/,
        /^p\.json:5:33: agents\.a\.retry\.attempts: there is no such policy or figure \(there are: attemptsMax, backoff\)$/,
        /^p\.json:5:50: agents\.a\.whenOpen: invalid option: expected one of "wait"\|"fail", got "later"$/,
      ],
    ],
    ['{ "models": { "opus": {} } }', ['p.json:1:15: models.opus: expected provider/model, provider/*, or *, got "opus"']],
    ['{ "agents": { "a": { "fallback": [{ "agent": "b" }, { "persons": "ann" }] } } }', [/^p\.json:1:55: agents\.a\.fallback\.1\.persons: there is no such policy or figure, did you mean "person"\?/]],
    ['{ "agents": { "a": { "fallback": [{ "person": "ann", "deadlineMs": "1h" }] } } }', ['p.json:1:54: agents.a.fallback.0.deadlineMs: invalid input: expected number, received string, got "1h"']],
    ['{ "agents": { "a": { "fallback": [5] } } }', ['p.json:1:35: agents.a.fallback.0: expected { "agent": name } or { "person": why }, each with a deadlineMs if need be, got 5']],
    ['{ "agents": { "a": { "breaker": true } } }', ['p.json:1:22: agents.a.breaker: expected its figures or false, got true']],
    ['{ "agents": { "a": { "breaker": { "probesMax": 1 } } } }', ['p.json:1:22: agents.a.breaker.successesToClose: expected at most probesMax, which is 1, got 2; it would never close']],
  ]
  test.each(wrong)('%j', (text, lines) => {
    const found = linesOf(text)
    expect(found).toHaveLength(lines.length)
    for (const [i, line] of lines.entries()) {
      if (typeof line === 'string') expect(found[i]).toBe(line)
      else expect(found[i]).toMatch(line)
    }
  })
})

test(`text is read as JSON.parse reads it, and what that refuses is refused (seed ${firstSeed})`, () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), fc.constantFrom(0, 1, 2), fc.option(fc.tuple(fc.nat(200), fc.constantFrom('', ',', '"', '{', '}', ']', ':', '0', '-', '.', 'e', '\\', '\n', 'null', '\u0001'))), (text, indent, change) => {
      let given = JSON.stringify(JSON.parse(text), null, indent)
      if (change) given = given.slice(0, change[0] % (given.length + 1)) + change[1] + given.slice((change[0] % (given.length + 1)) + 1)
      let expected: unknown
      try {
        expected = JSON.parse(given)
      } catch {
        expect(() => parseJsonText(given)).toThrow()
        return
      }
      try {
        expect(parseJsonText(given).value).toEqual(expected)
      } catch (error) {
        expect((error as Error).message).toContain('a second time')
      }
    }),
    { seed: firstSeed, numRuns: extent(500) },
  )
})

const validate = new Ajv2020({ strict: false }).compile(policyFileSchema())

const figure = fc.constantFrom<unknown>(0, 1, 2, 0.5, 9, 1_000, 86_400_001, -1, '5s', true, false, null, 'wait', 'fail', [], {})
const someOf = (...keys: readonly string[]): fc.Arbitrary<object> => fc.dictionary(fc.constantFrom(...keys), figure, { maxKeys: 3 })
const policy = fc.oneof(
  { arbitrary: fc.constantFrom<unknown>(false, true, null, 1, 'x', []), weight: 1 },
  { arbitrary: someOf('openMs', 'failureShare', 'probesMax', 'requestsMax', 'tokensMax', 'windowMs', 'workingMax', 'waitingMax', 'openFactor', 'attemptsMax', 'opens'), weight: 4 },
  { arbitrary: fc.record({ attemptsMax: figure, backoff: someOf('firstMs', 'factor', 'maxMs', 'jitter', 'max') }, { requiredKeys: [] }), weight: 2 },
  { arbitrary: fc.array(someOf('agent', 'person', 'deadlineMs', 'who'), { maxLength: 10 }), weight: 1 },
  { arbitrary: fc.array(fc.constantFrom({ agent: 'a' }, { person: 'ann', deadlineMs: 5 }, { agent: 'a b' }), { maxLength: 9 }), weight: 2 },
)
const subject = fc.dictionary(fc.constantFrom('breaker', 'limit', 'bulkhead', 'retry', 'deadlineMs', 'whenOpen', 'priority', 'fallback', 'other'), fc.oneof({ arbitrary: policy, weight: 4 }, { arbitrary: figure, weight: 1 }), { maxKeys: 2 })
const documents = fc.dictionary(fc.constantFrom('providers', 'models', 'agents', 'tenants', 'agents', 'models', 'model', '$schema'), fc.oneof({ arbitrary: fc.dictionary(fc.constantFrom('*', 'x', 'x/m', 'x/*', 'a@2', 'a b', ''), subject, { maxKeys: 2 }), weight: 8 }, { arbitrary: figure, weight: 1 }), { maxKeys: 2 })

test(`what editors are told is what is checked (seed ${firstSeed})`, () => {
  let valid = 0
  let invalid = 0
  fc.assert(
    fc.property(documents, (document) => {
      // What figures mean for each other is not for a schema to say.
      const issues = issuesIn(document).filter(({ message }) => !message.includes('never close'))
      if (issues.length === 0) valid++
      else invalid++
      expect(validate(document), JSON.stringify(issues)).toBe(issues.length === 0)
      // Each of them is about something that is there, but for what is missing.
      for (const { message } of issues) expect(message).toMatch(/^(?:expected|there is no|invalid|too )/)
    }),
    { seed: firstSeed, numRuns: extent(600) },
  )
  console.log(`policy documents: ${valid} right, ${invalid} wrong`)
  expect(Math.min(valid, invalid)).toBeGreaterThan((valid + invalid) / 4)
})

const grant = { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }

/** A file that a test writes, and what the mesh says of it. */
function sourceOf(initial: object): PolicySource & { write(text: string): void } {
  let text = JSON.stringify(initial)
  const watchers = new Set<() => void>()
  return {
    name: 'p.json',
    text,
    read: () => Promise.resolve(text),
    watch: (changed) => (watchers.add(changed), () => watchers.delete(changed)),
    write(next) {
      text = next
      for (const changed of watchers) changed()
    },
  }
}

function recording(): { readonly logger: Logger; readonly lines: string[]; readonly next: () => Promise<void> } {
  const lines: string[] = []
  let heard = (): void => {}
  const note = (fields: object, message: string): void => {
    lines.push(`${message} ${JSON.stringify(fields)}`)
    heard()
  }
  return { lines, next: () => new Promise((resolve) => (heard = resolve)), logger: { trace: () => {}, fatal: note, debug: () => {}, info: note, warn: note, error: note } as unknown as Logger }
}

const busy = (): ReturnType<typeof functionModel> =>
  functionModel(() => {
    throw new ModelError('overloaded', 'busy', { retryable: true })
  }, 'far', false)
const workerOf = (client: ReturnType<typeof functionModel>): ReturnType<typeof defineAgent> => defineAgent({ name: 'worker', input: z.looseObject({}), output: z.looseObject({}), model: modelOf(client, 'm', { input: 0, output: 0 }), prompt: () => ({ messages: [] }) })
const retrying = (attemptsMax: number, more: object = {}): object => ({ models: { '*': { breaker: false, ...more } }, agents: { worker: { breaker: false, retry: { attemptsMax, backoff: { firstMs: 1_000, factor: 1, jitter: 0 } } } } })

async function begin(mesh: Mesh, id: string): Promise<void> {
  const task: AgentTask = { id, origin: id, input: {}, goal: canonicalGoal('why'), grant, run: id }
  await mesh.system.actorAt(`worker/${id}` as never).start({ input: { task } as never, run: id })
}

test(`a file that changes again and again, now and then for a wrong one, loses no call, and each makes as many attempts as held when it began (seed ${firstSeed})`, async () => {
  const act = fc.oneof(
    fc.record({ is: fc.constant('call' as const) }),
    fc.record({ is: fc.constant('file' as const), attemptsMax: fc.integer({ min: 1, max: 5 }), workingMax: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ is: fc.constant('wrong' as const), text: fc.constantFrom('', '{', '{"agents":{"worker":{"retry":{"attemptsMax":0}}}}', '{"agents":{"worker":{"fallback":[{"agent":"nobody"}]}}}') }),
    fc.record({ is: fc.constant('wait' as const), ms: fc.constantFrom(200, 1_000, 3_000) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 5, maxLength: 25 }), async (acts) => {
      const source = sourceOf(retrying(2))
      const { logger, lines } = recording()
      let mesh: Mesh
      const world = new World({ create: (given) => (mesh = createMesh({ ...given, logger, agents: [workerOf(busy())], policies: source })) })
      await world.start()
      let holds = 2
      let wrongs = 0
      const began: [id: string, attempts: number][] = []
      for (const one of acts) {
        if (one.is === 'wait') await world.advance(one.ms)
        else if (one.is === 'call') {
          began.push([`c-${began.length}`, holds])
          await begin(mesh!, began.at(-1)![0])
        } else if (one.is === 'file') {
          holds = one.attemptsMax
          source.write(JSON.stringify(retrying(holds, { bulkhead: { workingMax: one.workingMax } })))
        } else {
          wrongs++
          source.write(one.text)
        }
        await world.settled()
      }
      await world.advance(120_000)
      for (const [id, attempts] of began) {
        const actor = mesh!.system.actorAt(`worker/${id}` as never)
        expect(await actor.output({ deadlineMs: 1 })).toMatchObject({ outcome: 'failed', spent: { calls: attempts }, failure: { reason: 'model', message: 'busy' } } satisfies Partial<Record<keyof AgentOutput, unknown>>)
      }
      expect(lines.filter((line) => line.includes('as they were'))).toHaveLength(wrongs)
      await world.stop()
    }),
    { seed: firstSeed, numRuns: extent(8, 1_000) },
  )
})

test('what was set while the mesh runs goes before the file, which holds again when that is taken back', async () => {
  const source = sourceOf(retrying(2))
  let mesh: Mesh
  const world = new World({ create: (given) => (mesh = createMesh({ ...given, agents: [workerOf(busy())], policies: source })) })
  await world.start()
  const figure = (): number => mesh.policies.explain('worker')[0]!.call.figures.attemptsMax
  const change = async (to: object | null): Promise<void> => {
    const done = mesh.policies.set(to as never, { by: 'ann' })
    await world.advance(1_000)
    await done
  }
  expect(figure()).toBe(2)
  await change(retrying(7))
  source.write(JSON.stringify(retrying(3)))
  await world.settled()
  expect(figure()).toBe(7)
  await change(null)
  expect(figure()).toBe(3)
  await world.stop()
})

test('a mesh is not made with a wrong file, or one that hands tasks to nobody; names that nobody has here are logged', async () => {
  const agents = [workerOf(busy())]
  const make = (policies: object, logger?: Logger): Mesh => createMesh({ store: new MemoryStore(), agents, policies: sourceOf(policies), ...(logger ? { logger } : {}) })
  expect(() => make({ agents: { worker: { retry: { attemptsMax: -1 } } } })).toThrow(/^p\.json:1:31: agents\.worker\.retry\.attemptsMax: too small/)
  expect(() => make({ agents: { worker: { fallback: [{ agent: 'wroker' }] } } })).toThrow('p.json:1:35: agents.worker.fallback.0.agent: "wroker" is neither an agent nor a machine of this mesh')
  expect(() => createMesh({ store: new MemoryStore(), agents, policies: { agents: { '*': { fallback: [{ agent: 'workers' }] } } } })).toThrow(/^policies: agents\.\*\.fallback\.0\.agent: "workers" is .*, did you mean "worker"\?/)
  const { logger, lines } = recording()
  make({ agents: { worker: {}, wroker: {} }, models: { 'far/n': {} }, providers: { fra: {} } }, logger)
  expect(lines.map((line) => line.replace(/ \(it has.*/, ''))).toEqual(['this mesh has no provider "fra", did you mean "far"?', 'this mesh has no model "far/n", did you mean "far/m"?', 'this mesh has no agent "wroker", did you mean "worker"?'])
})

test('a file on disk is read again when it changes, is replaced or comes back', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-policies-'))
  const path = join(folder, 'p.json')
  const { logger, lines, next } = recording()
  try {
    await expect(policyFile(path)).rejects.toThrow(/^policyFile: .*p\.json cannot be read/)
    await expect(policyFile('')).rejects.toThrow('expected the path of a file, got ""')
    await expect(policyFile(path, { everyMs: 1 })).rejects.toThrow('everyMs: expected a whole number from 10')
    writeFileSync(path, JSON.stringify(retrying(2)))
    const mesh = await createMesh({ store: new MemoryStore(), agents: [workerOf(busy())], logger, policies: await policyFile(path, { everyMs: 10 }) }).start()
    const figure = (): number => mesh.policies.explain('worker')[0]!.call.figures.attemptsMax
    for (const [text, holds, says] of [
      [JSON.stringify(retrying(5)), 5, 'read again'],
      ['{', 5, 'p.json:1:2: expected a name in double quotes, found the end of the text'],
      [JSON.stringify(retrying(6)), 6, 'read again'],
    ] as const) {
      const told = next()
      writeFileSync(path, text)
      await told
      expect(lines.at(-1)).toContain(says)
      expect(figure()).toBe(holds)
    }
    const gone = next()
    rmSync(path)
    await gone
    expect(lines.at(-1)).toContain('cannot be read')
    await expect(mesh.policies.load()).rejects.toThrow('cannot be read')
    expect(figure()).toBe(6)
    const back = next()
    writeFileSync(path, JSON.stringify(retrying(4)))
    await back
    expect(figure()).toBe(4)
    await mesh.stop()
    const plain = createMesh({ store: new MemoryStore(), policies: {} })
    expect(() => plain.policies.load()).toThrow('These policies came with the code')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
