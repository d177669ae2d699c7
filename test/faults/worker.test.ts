/** examples/worker as its users run it: jobs are put down while it is killed and started again. */
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { endExamples, startExample, type Example } from '../support/example.js'

afterEach(endExamples)

test('every job is done, and none twice, though the worker is killed again and again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-worker-'))
  const outbox = join(folder, 'outbox')
  const start = (): Promise<Example> => startExample('worker/worker.ts', [folder], /^process (\d+) works on/)
  await mkdir(join(folder, 'inbox'))
  // More than may wait at once.
  const names = Array.from({ length: 24 }, (_, i) => `job-${i}.txt`)
  for (const name of names) await writeFile(join(folder, 'inbox', name), 'so many words\n'.repeat(names.indexOf(name)))
  /** Which file each answer was when it was first seen: one that is delivered again is another. */
  const first = new Map<string, number>()
  const delivered = async (): Promise<string[]> => {
    const there = (await readdir(outbox)).filter((name) => !name.startsWith('.'))
    for (const name of there) if (!first.has(name)) first.set(name, (await stat(join(outbox, name))).ino)
    return there
  }
  let worker = await start()
  let kills = 0
  for (const at = [2, 5, 8, 12, 17, 21]; (await delivered()).length < names.length; await sleep(20)) {
    if ((await delivered()).length < (at[kills] ?? Infinity)) continue
    process.kill(worker.pid, 'SIGKILL')
    await worker.ended
    kills++
    worker = await start()
  }
  while ((await readdir(join(folder, 'inbox'))).length > 0) await sleep(50)
  process.kill(worker.pid, 'SIGTERM')
  expect(await worker.ended).toBe(0)
  expect(kills).toBeGreaterThan(3)
  for (const [i, name] of names.entries()) {
    expect(await readFile(join(outbox, name), 'utf8')).toBe(`${3 * i} words\n`)
    expect((await stat(join(outbox, name))).ino, name).toBe(first.get(name))
  }
  await rm(folder, { recursive: true })
}, 120_000)
