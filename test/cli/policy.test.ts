/** `holdfast policy`, in processes of its own, beside one that runs the actors. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lmdbStore } from '../../src/adapters/lmdb/index.js'
import { createMesh, type Mesh } from '../../src/index.js'
import { holdfast } from '../support/cli.js'

let folder: string
let mesh: Mesh
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-policy-'))
  writeFileSync(join(folder, 'new.json'), JSON.stringify({ agents: { researcher: { bulkhead: { workingMax: 3 } } } }))
  writeFileSync(join(folder, 'wrong.json'), JSON.stringify({ agents: { researcher: { bulkhead: { workingMax: 0 } } } }))
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
  expect(wrong.stderr).toContain('policies: agents.researcher.bulkhead.workingMax: too small')
})

test('stops calls for the process that runs the actors, says what is stopped, and lets them go on', async () => {
  const stopped = await policy('stop', 'version:researcher@2', '--by', 'ann', '--why', 'nonsense')
  expect(stopped).toMatchObject({ code: 0, stderr: '', lines: ['Stopped: version researcher@2, by ann: nonsense'] })
  expect(await mesh.policies.stops()).toMatchObject([{ scope: 'version', name: 'researcher@2', by: 'ann', why: 'nonsense' }])
  expect((await policy('resume', 'version:researcher@2')).lines).toEqual(['No calls are stopped.'])
  expect((await policy('stop', 'researcher')).stderr).toContain('Expected <scope>:<name>')
})
