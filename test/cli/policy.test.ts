/** `holdfast policy`, in processes of its own, beside one that runs the actors. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lmdbStore } from '../../src/adapters/lmdb/index.js'
import { meshIn } from '../../src/cli/mesh-in.js'
import { createMesh, type Mesh } from '../../src/index.js'
import { holdfast } from '../support/cli.js'

let folder: string
let mesh: Mesh
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-policy-'))
  writeFileSync(join(folder, 'new.json'), JSON.stringify({ agents: { researcher: { bulkhead: { workingMax: 3 } } } }))
  writeFileSync(join(folder, 'wrong.json'), JSON.stringify({ agents: { researcher: { bulkhead: { workingMax: 0 } } } }))
  const from = (path: string): string => JSON.stringify(pathToFileURL(resolve(path)).href)
  writeFileSync(
    join(folder, 'mesh.mjs'),
    `import { createMesh, defineAgent, modelOf } from ${from('dist/index.js')}
import { lmdbStore } from ${from('dist/adapters/lmdb/index.js')}
import { policyFile } from ${from('dist/adapters/file/index.js')}
import { z } from ${from('node_modules/zod/index.js')}
const far = { provider: 'far', complete: () => Promise.reject(new Error('nobody there')) }
const tools = { look: { description: 'Looks.', input: z.object({}), run: () => null } }
const agent = (name, version, more) => defineAgent({ ...more, name, version, input: z.looseObject({}), output: z.looseObject({}), model: modelOf(far, 'm'), prompt: () => ({ messages: [] }) })
export const mesh = createMesh({ store: lmdbStore(${JSON.stringify(join(folder, 'store'))}), namespace: 'research', agents: [agent('worker', 2, { tools }), agent('generalist', 1)], policies: await policyFile(${JSON.stringify(join(folder, 'mesh.json'))}) })
export const none = 1
`,
  )
  writeFileSync(join(folder, 'mesh.json'), JSON.stringify({ agents: { '*': { deadlineMs: 60_000 }, worker: { retry: { attemptsMax: 6 }, fallback: [{ agent: 'generalist' }, { person: 'ops', deadlineMs: 5_000 }] } } }))
  writeFileSync(join(folder, 'typo.json'), '{\n  "agents": { "wroker": { "fallback": [{ "agent": "generalists" }] } },\n  "models": { "far/n": {} }, "tools": { "looks": {} }\n}')
  // Whoever runs the actors need not know the crew.
  mesh = await createMesh({ store: lmdbStore(join(folder, 'store')), namespace: 'research' }).start()
})
afterAll(async () => {
  await mesh.stop()
  rmSync(folder, { recursive: true, force: true })
})

const policy = (...args: string[]): ReturnType<typeof holdfast> => holdfast(['policy', ...args, '--store', join(folder, 'store')])

test('explains what applies with all figures, as it is and as it would be', async () => {
  const now = await policy('explain', 'researcher')
  expect(now).toMatchObject({ code: 0, stderr: '' })
  expect(now.lines[0]).toMatch(/^researcher asks offline\/.* with a permit of nobody: it answers in this process/)
  const then = await policy('explain', 'researcher', '--policies', join(folder, 'new.json'))
  expect(then.lines.join('\n')).toMatch(/^ {2}bulkhead of agent researcher +from "researcher": workingMax 3, waitingMax 1,000$/m)
  const wrong = await policy('explain', 'researcher', '--policies', join(folder, 'wrong.json'))
  expect(wrong.code).not.toBe(0)
  expect(wrong.stderr).toMatch(/wrong\.json:1:38: agents\.researcher\.bulkhead\.workingMax: too small: .*, got 0$/m)
  expect(now.lines).toContain('  retry.attemptsMax                              by default: 4')
})

test('stops calls for the process that runs the actors, says what is stopped, and lets them go on', async () => {
  const stopped = await policy('stop', 'version:researcher@2', '--by', 'ann', '--why', 'nonsense')
  expect(stopped).toMatchObject({ code: 0, stderr: '', lines: ['Stopped: version researcher@2, by ann: nonsense'] })
  expect(await mesh.policies.stops()).toMatchObject([{ scope: 'version', name: 'researcher@2', by: 'ann', why: 'nonsense' }])
  expect((await policy('resume', 'version:researcher@2')).lines).toEqual(['No calls are stopped.'])
  expect((await policy('stop', 'researcher')).stderr).toContain('Expected <scope>:<name>')
})

test('explains a mesh of the user’s own, with what was stopped while it ran', async () => {
  const explain = (...args: string[]): ReturnType<typeof holdfast> => holdfast(['policy', 'explain', ...args], { cwd: folder })
  await policy('stop', 'model:far/m', '--by', 'ann', '--why', 'too dear')
  try {
    const { code, stderr, lines } = await explain('worker', '--mesh', 'mesh.mjs')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(lines[0]).toBe('worker asks far/m with a permit of')
    expect(lines.filter((line) => /^ {2}(?:bulkhead|limit|breaker) of /.test(line))).toHaveLength(4)
    expect(lines).toContain('  stopped: no such call begins, because ann has stopped model far/m: too dear')
    expect(lines.slice(lines.indexOf('worker, over all its models, in one call'))).toEqual([
      'worker, over all its models, in one call',
      '  retry.attemptsMax                              from "worker": 6',
      '  retry.backoff                                  by default: firstMs 500, factor 2, maxMs 30,000, jitter 0.5',
      '  deadlineMs                                     from "*": 60,000',
      '  whenOpen                                       by default: wait',
      '  priority                                       by default: 5',
      '  hedge                                          by default: never',
      '  fallback                                       from "worker": 1. agent generalist, waited for 3,600,000 ms; 2. a person ("ops"), waited for 5,000 ms',
      'worker is given the tool look, with a permit of nobody: no policy names it',
      'Stopped: model far/m, by ann: too dear',
    ])
    expect(JSON.parse((await explain('worker', '--mesh', 'mesh.mjs#mesh', '--json')).lines[0]!)).toMatchObject({ agent: 'worker', chains: [{ model: 'far/m', call: { figures: { attemptsMax: 6 } }, stop: { by: 'ann' } }] })
  } finally {
    await policy('resume', 'model:far/m')
  }
  writeFileSync(join(folder, 'few.mjs'), 'export const one = { policies: { explain() {} }, system: {} }\nexport const two = { ...one }\nexport const none = 1\n')
  for (const [place, says] of [['no.mjs', '--mesh: there is no file "no.mjs".'], ['few.mjs#none', 'few.mjs exports no mesh "none"; it exports one, two.'], ['few.mjs', 'few.mjs exports one, two. Say which: few.mjs#one']] as const) await expect(meshIn(place, { command: 'policy', cwd: folder })).rejects.toThrow(says)
  expect(await meshIn('few.mjs#two', { command: 'policy', cwd: folder })).toMatchObject({ system: {} })
})

test('explains the tools of an agent, and the budget of a tenant', async () => {
  writeFileSync(join(folder, 'whole.json'), JSON.stringify({ tools: { look: { limit: { requestsMax: 3 } } }, tenants: { acme: { budget: { usd: 12.5, calls: 4000, per: 'day', whenSpent: 'wait', waitMs: 60_000 } } } }))
  const explain = async (...args: string[]): Promise<readonly string[]> => (await holdfast(['policy', 'explain', 'worker', '--mesh', 'mesh.mjs', '--policies', 'whole.json', ...args], { cwd: folder })).lines
  const lines = await explain('--tenant', 'acme')
  const at = lines.indexOf('worker is given the tool look, with a permit of')
  expect(lines[at + 1]).toMatch(/^ {2}limit of tool look +from "look": requestsMax 3,/)
  expect(lines[at + 2]).toBe('tenant acme may spend $12.5, 4,000 calls a day; a run without a ceiling draws $1.25, 400 calls, and one that finds too little waits up to 60,000 ms; warned at 50%, 80%, 95%')
  expect((await explain('--tenant', 'other')).at(-1)).toBe('tenant other has no budget: its runs have their own ceilings alone')
  expect(JSON.parse((await explain('--tenant', 'acme', '--json'))[0]!)).toMatchObject({ chains: [{ tools: [{ tool: 'look', stop: null, chain: [{ kind: 'limit', figures: { requestsMax: 3 } }] }], budget: { per: 'day', limits: { nanoDollars: 12_500_000_000 } } }] })
})

test('checks a file without a store, and against a mesh its names too', async () => {
  const check = (...args: string[]): ReturnType<typeof holdfast> => holdfast(['policy', 'check', ...args], { cwd: folder })
  expect(await check('new.json')).toMatchObject({ code: 0, lines: ['new.json: right. It says something of 1 agents.'] })
  expect(await check('wrong.json')).toMatchObject({ code: 1, lines: ['wrong.json:1:38: agents.researcher.bulkhead.workingMax: too small: expected number to be >=1, got 0'] })
  expect(await check('typo.json')).toMatchObject({ code: 0 })
  expect(await check('typo.json', '--mesh', 'mesh.mjs')).toMatchObject({
    code: 1,
    lines: [
      'typo.json:2:15: agents.wroker: this mesh has no agent "wroker", did you mean "worker"? (it has: worker, generalist)',
      'typo.json:2:42: agents.wroker.fallback.0.agent: "generalists" is neither an agent nor a machine of this mesh, did you mean "generalist"? (its agents: worker, generalist)',
      'typo.json:3:15: models.far/n: this mesh has no model "far/n", did you mean "far/m"? (it has: far/m)',
      'typo.json:3:41: tools.looks: this mesh has no tool "looks", did you mean "look"? (it has: look)',
    ],
  })
  expect(JSON.parse((await check('wrong.json', '--json')).lines[0]!)).toMatchObject({ issues: [{ line: 1, column: 38 }] })
  expect((await check('none.json')).stderr).toContain('none.json cannot be read')
})
