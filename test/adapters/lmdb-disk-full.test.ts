/** A disk that is full: writes fail whole and say what to do, reads go on, and with room everything works again. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { claim, commitOf, entry, isWhole, removeScratchFolders, scratchFolder, sealed } from '../support/lmdb-data.js'
import { LmdbProcess } from '../support/lmdb-process.js'

const undo: (() => void)[] = []

afterEach(async () => {
  await LmdbProcess.killAll()
  for (const step of undo.splice(0)) step()
  await removeScratchFolders()
})

const namespace = { namespace: 'n', shards: 4 }

interface Place {
  readonly path: string
  start(): Promise<LmdbProcess>
  makeRoom(process: LmdbProcess): void
}

/** A file system of 4 MB, where this process may mount one. */
async function smallFileSystem(skip: (note: string) => void): Promise<Place> {
  const disk = join(await scratchFolder(), 'disk')
  mkdirSync(disk)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk], { stdio: 'ignore' })
  } catch {
    skip('this process may not mount; the limit on the size of files stands in')
  }
  undo.push(() => execFileSync('umount', ['--lazy', disk]))
  const ballast = join(disk, 'ballast')
  writeFileSync(ballast, Buffer.alloc(2 ** 20, 1))
  return { path: join(disk, 'store'), start: () => LmdbProcess.start(), makeRoom: () => rmSync(ballast) }
}

/** Room for files of 2 MB, in units of 512 bytes. */
async function limitedFiles(skip: (note: string) => void): Promise<Place> {
  if (process.platform !== 'linux') skip('only Linux lets one raise the limit of another process')
  return {
    path: await scratchFolder(),
    start: () => LmdbProcess.start({ through: ['sh', '-c', 'ulimit -S -f 4096; exec "$@"', 'sh'] }),
    makeRoom: ({ pid }) => void execFileSync('prlimit', ['--pid', `${pid}`, '--fsize=unlimited:']),
  }
}

describe.each([
  ['a file system', smallFileSystem],
  ['the largest size of a file', limitedFiles],
])('where %s is full', (_, place) => {
  test('writes fail whole with advice, reads go on, and with room writes work again', async ({ skip }) => {
    const { path, start, makeRoom } = await place(skip)
    const full = await start()
    await full.open(path, namespace)
    const lease = await claim(full.store, 0)
    const parts = (text: string): object[] => ['m/a', 'm/b'].map((address) => ({ address, life: 'created', fields: new Map([['f', text]]), park: [text], logs: [{ stream: address, text, max: 9 }] }))
    await full.store.commit(commitOf(lease, 1, parts('first')))

    const acknowledged = new Map<number, string>()
    const failures: unknown[] = []
    const fill = async (lane: number): Promise<void> => {
      for (let i = 0; ; i++) {
        const text = sealed(`${lane} ${i}`, 20_000)
        const { appended } = await full.append(1, [entry(`${lane} ${i}`, { text })])
        if (typeof appended[0] === 'object') acknowledged.set(appended[0].seq, text)
      }
    }
    await Promise.all([0, 1, 2, 3].map((lane) => fill(lane).catch((error: unknown) => failures.push(error))))
    for (const failure of failures) expect(failure).toMatchObject({ code: 'STORE', outcome: 'failed', message: expect.stringMatching(/full/) as string })
    const log = async (): Promise<Map<number, string>> => new Map((await full.read(1, 0)).entries.map(({ seq, text }) => [seq, text]))
    const state = (): Promise<unknown> => Promise.all([full.store.load(0, ['m/a', 'm/b']), full.store.log(0, 'm/a', 0, 9), full.store.log(0, 'm/b', 0, 9), full.store.parked(0, 'm/a', 9)])
    expect(acknowledged.size).toBeGreaterThan(20)
    expect(await log()).toEqual(acknowledged)

    const before = await state()
    const commit = commitOf(lease, 2, parts('x'.repeat(50_000)))
    await expect(full.store.commit(commit)).rejects.toMatchObject({ code: 'STORE', outcome: 'failed' })
    expect(await state()).toEqual(before)
    // Another process sees the same, and can open what has no more room.
    const other = await start()
    await other.open(path, namespace)
    expect((await other.read(1, 0)).entries).toHaveLength(acknowledged.size)

    makeRoom(full)
    expect(await full.store.commit(commit)).toMatchObject({ ok: true })
    expect(await full.store.load(0, ['m/b'])).toMatchObject([{ parked: 2 }])
    expect((await full.append(1, [entry('last')])).appended).toEqual([{ seq: acknowledged.size + 1 }])
    for (const [seq, text] of await log()) expect(seq > acknowledged.size || isWhole(text)).toBe(true)
  })
})

test('a folder that is to be made on a full file system, or has lost its lock file there, is refused', async ({ skip }) => {
  const { path, start, makeRoom } = await smallFileSystem(skip)
  const other = await start()
  await other.open(path, namespace)
  await other.append(1, [entry('a')])
  await other.store.close()
  const lock = readFileSync(join(path, 'lock.mdb'))
  rmSync(join(path, 'lock.mdb'))
  const rest = join(path, '../rest')
  expect(() => writeFileSync(rest, Buffer.alloc(2 ** 22, 1))).toThrow('ENOSPC')
  const refusal = { code: 'CONFIG', message: expect.stringMatching(/the disk of .* is full. Make room/) as string }
  await expect(other.open(path, namespace)).rejects.toMatchObject(refusal)
  await expect(other.open(`${path} new`, namespace)).rejects.toMatchObject(refusal)
  expect(() => writeFileSync(join(path, 'lock.mdb'), lock)).toThrow('ENOSPC')
  // Empty, it is of no more use.
  await expect(other.open(path, namespace)).rejects.toMatchObject(refusal)
  makeRoom(other)
  await other.open(path, namespace)
  expect((await other.read(1, 0)).entries).toHaveLength(1)
})
