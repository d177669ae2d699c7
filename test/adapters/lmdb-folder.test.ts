/** The folder of an LMDB store: how it is named, made, shared, refused and let go. */
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { ConfigError, StoreError } from '../../src/errors.js'
import type { Environment } from '../../src/adapters/lmdb/environment.js'
import { lmdbStore, LmdbStore } from '../../src/adapters/lmdb/index.js'
import { claim, commitOf, entry, removeScratchFolders, scratchFolder } from '../support/lmdb-data.js'
import { LmdbProcess } from '../support/lmdb-process.js'

const stores: LmdbStore[] = []

afterEach(async () => {
  await LmdbProcess.killAll()
  await Promise.all(stores.splice(0).map((store) => store.close()))
  await removeScratchFolders()
})

const namespace = { namespace: 'n', shards: 4 }
/** What it looks at is told by Linux only. */
const onLinux = test.skipIf(process.platform !== 'linux')
const never = new AbortController().signal

async function open(path: string): Promise<LmdbStore> {
  const store = new LmdbStore(path)
  stores.push(store)
  await store.open(namespace)
  return store
}

async function texts(store: LmdbStore): Promise<string[]> {
  return (await store.read(1, 0, 100, AbortSignal.abort())).map((e) => e.text)
}

function environmentOf(store: LmdbStore): Environment {
  return (store as unknown as { opened: { environment: Environment } }).opened.environment
}

describe('a path', () => {
  test('is made with its parents, may hold anything, and holds the data of one store', async () => {
    const folder = await scratchFolder()
    for (const name of ['a/b/c', 'with spaces and "quotes"', 'größe/データ/💾', 'dotted.name.mdb', "it's $HOME; `x` %20 \\", '-rf', 'n'.repeat(255)]) {
      const path = join(folder, name)
      await (await open(path)).append(1, [entry(name)])
      expect(readdirSync(path).sort()).toEqual(['data.mdb', 'lock.mdb'])
      expect(await texts(await open(path))).toEqual([name])
    }
  })

  test('is relative to where the process stood when the store was opened', async () => {
    const folder = await scratchFolder()
    const store = await open(relative(process.cwd(), join(folder, 'here')))
    expect(environmentOf(store).folder.path).toBe(join(realpathSync(folder), 'here'))
    const other = await LmdbProcess.start({ cwd: folder })
    await other.open('./here', namespace)
    await other.append(1, [entry('a')])
    expect(await texts(store)).toEqual(['a'])
  })

  test('is the same folder however it is spelled, and all its stores share one environment', async () => {
    const folder = await scratchFolder()
    const path = join(folder, 'real')
    const first = await open(path)
    symlinkSync(path, join(folder, 'link'))
    symlinkSync('link', join(folder, 'link of a link'))
    const spellings = [`${path}/`, `${folder}//real/../real/.`, join(folder, 'link'), join(folder, 'link of a link'), relative(process.cwd(), path)]
    const others = await Promise.all(spellings.map(open))
    for (const store of others) expect(environmentOf(store)).toBe(environmentOf(first))
    await first.append(1, [entry('a')])
    for (const store of others) expect(await texts(store)).toEqual(['a'])
    // The folder stays open until the last one leaves it.
    await first.close()
    for (const store of others) expect(await store.append(1, [entry('a')])).toEqual(['duplicate'])
    expect(lstatSync(join(folder, 'link')).isSymbolicLink()).toBe(true)
  })
})

describe('a folder that cannot be used', () => {
  async function refusalOf(path: string): Promise<Error> {
    const error: unknown = await lmdbStore(path).open(namespace).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(ConfigError)
    return error as Error
  }

  test('is refused by name: a file in its place or above it, a folder or a device in place of its files, a link to nowhere', async () => {
    const folder = await scratchFolder()
    const file = join(folder, 'file')
    writeFileSync(file, '')
    expect((await refusalOf(file)).message).toContain(`${file} is a file`)
    expect((await refusalOf(join(file, 'below', 'it'))).message).toContain(`${join(file, 'below', 'it')} is a file or lies below one`)
    for (const name of ['data.mdb', 'lock.mdb']) {
      const path = join(folder, `with ${name}`)
      mkdirSync(join(path, name), { recursive: true })
      expect((await refusalOf(path)).message).toContain(`${join(path, name)} is not a file`)
    }
    const piped = join(folder, 'piped')
    mkdirSync(piped)
    execFileSync('mkfifo', [join(piped, 'data.mdb')])
    expect((await refusalOf(piped)).message).toContain(`${join(piped, 'data.mdb')} is not a file`)
    symlinkSync(join(folder, 'nowhere'), join(folder, 'dangling'))
    expect((await refusalOf(join(folder, 'dangling'))).message).toContain('dangling')
    symlinkSync('loop', join(folder, 'loop'))
    expect((await refusalOf(join(folder, 'loop'))).message).toContain('loop')
    for (const path of ['\u0000', join(folder, 'n'.repeat(256)), '/proc/nowhere', `/${'n/'.repeat(3_000)}`]) await refusalOf(path)
    expect(readFileSync(file, 'utf8')).toBe('')
    expect(existsSync(join(folder, 'nowhere'))).toBe(false)
  })

  test('is not the folder of the process because somebody left its path empty', () => {
    for (const path of ['', undefined, null, 1]) expect(() => lmdbStore(path as string)).toThrow(ConfigError)
  })

  test('is refused where this process may not write: the parent, the folder, its files', async () => {
    const folder = await scratchFolder()
    chmodSync(folder, 0o777)
    // Root may write everywhere, so it becomes somebody else.
    const nobody = 65_534
    const other = await LmdbProcess.start()
    if (process.getuid?.() === 0) await other.become(nobody)
    const [parent, path] = [join(folder, 'parent'), join(folder, 'folder')]
    mkdirSync(parent)
    chmodSync(parent, 0o555)
    await expect(other.open(join(parent, 'new'), namespace)).rejects.toMatchObject({ code: 'CONFIG', message: expect.stringMatching(/may not write to .*new \(EACCES\)/) as string })

    await other.open(path, namespace)
    await other.append(1, [entry('a')])
    await other.store.close()
    const refused = (name: string): object => ({ code: 'CONFIG', message: expect.stringContaining(`may not write to ${join(realpathSync(folder), name)}`) as string })
    for (const [name, mode, usual] of [['folder', 0o555, 0o755], ['folder/data.mdb', 0o444, 0o644], ['folder/lock.mdb', 0o444, 0o644], ['folder', 0o000, 0o755]] as const) {
      chmodSync(join(folder, name), mode)
      await expect(other.open(path, namespace)).rejects.toMatchObject(refused(name))
      chmodSync(join(folder, name), usual)
    }
    await other.open(path, namespace)
    expect((await other.read(1, 0)).entries.map((e) => e.text)).toEqual(['a'])
  })

  test('is refused on a file system that is only for reading', async ({ skip }) => {
    const path = await scratchFolder()
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', path], { stdio: 'ignore' })
    } catch {
      skip('this process may not mount')
    }
    try {
      expect((await refusalOf(path)).message).toContain(`may not write to ${realpathSync(path)} (EROFS)`)
      expect((await refusalOf(join(path, 'new'))).message).toContain('(EROFS)')
    } finally {
      execFileSync('umount', [path])
    }
  })

  test('in memory is named in the warnings and in the durability', async ({ skip }) => {
    if (!existsSync('/dev/shm')) skip('there is no /dev/shm')
    const path = join('/dev/shm', `holdfast-${process.pid}`)
    try {
      const store = new LmdbStore(path)
      stores.push(store)
      expect(await store.open(namespace)).toMatchObject({ durability: 'D0', warnings: [expect.stringContaining('is in memory')] })
      await store.close()
    } finally {
      execFileSync('rm', ['-r', path])
    }
  })
})

describe('a store', () => {
  test('refuses whatever is asked of it before it is open and after it is closed', async () => {
    const path = await scratchFolder()
    const store = new LmdbStore(path)
    const lease = { shard: 1, epoch: 1, node: 'node-1' }
    const uses: (() => unknown)[] = [
      () => store.claim(1, { id: 'node-1' }),
      () => store.renew(lease),
      () => store.release(lease),
      () => store.append(1, [entry('a')]),
      () => store.read(1, 0, 10, never),
      () => store.commit(commitOf(lease, 1, [])),
      () => store.deliver(1, 2, []),
      () => store.load(1, []),
      () => store.parked(1, 'm/a', 1),
      () => store.recover(1),
      () => store.timers(1, 0, 1),
      () => store.nextTimer(1),
      () => store.log(1, 's', 0, 1),
      () => store.trim(1, 's', 0),
      () => store.reply(1, 'r'),
      () => store.find(1, {}),
      () => store.watch(1, () => {}),
    ]
    const refuseAll = async (): Promise<void> => {
      for (const use of uses) await expect((async () => use())()).rejects.toMatchObject({ code: 'STORE', outcome: 'failed', message: expect.stringMatching(/not open/) as string })
    }
    await refuseAll()
    expect(existsSync(join(path, 'data.mdb'))).toBe(false)
    await store.open(namespace)
    await store.append(1, [entry('a')])
    for (const shard of [-1, 4, 0.5, Number.NaN]) await expect(store.append(shard, [entry('a')])).rejects.toThrow(ConfigError)
    await store.close()
    await refuseAll()
  })

  test('is closed twice as well as once, also when it was never open, and can be opened again', async () => {
    const store = new LmdbStore(await scratchFolder())
    await store.close()
    for (let round = 0; round < 3; round++) {
      await store.open(namespace)
      await store.append(1, [entry(`${round}`)])
      await Promise.all([store.close(), store.close()])
      await store.close()
    }
    await store.open(namespace)
    expect(await texts(store)).toEqual(['0', '1', '2'])
    await store.close()
  })

  test('that is closed while it is being opened stays closed, and opened twice at once is open once', async () => {
    const path = await scratchFolder()
    const store = new LmdbStore(path)
    stores.push(store)
    const opening = store.open(namespace)
    await store.close()
    await expect(opening).rejects.toThrow(StoreError)
    await expect(store.append(1, [entry('a')])).rejects.toThrow(/not open/)
    const [first, second] = await Promise.allSettled([store.open(namespace), store.open(namespace)])
    expect([first.status, second.status]).toEqual(['rejected', 'fulfilled'])
    await store.append(1, [entry('a')])
    await store.close()
    expect(openFiles(path)).toEqual([])
  })

  test('answers those who wait when it is closed, and tells watchers nothing more', async () => {
    const path = await scratchFolder()
    const [store, other] = [await open(path), await open(path)]
    const told: string[] = []
    store.watch(1, () => told.push('closed store'))
    other.watch(1, () => told.push('open store'))
    const waiting = [0, 1, 2].map((shard) => store.read(shard, 0, 10, never))
    const elsewhere = other.read(1, 0, 10, never)
    await store.close()
    expect(await Promise.all(waiting)).toEqual([[], [], []])
    await other.append(1, [entry('a')])
    expect((await elsewhere).map((e) => e.text)).toEqual(['a'])
    await other.commit(commitOf(await claim(other), 1, []))
    await expect.poll(() => told).toEqual(['open store'])
  })

  test.each([['of the last store', 1], ['of one of two stores', 2]])('has on disk what was asked of it before, when the closing %s resolves', async (_, count) => {
    const path = await scratchFolder()
    const opened = await Promise.all(Array.from({ length: count }, () => open(path)))
    const store = opened[0] as LmdbStore
    const done: number[] = []
    const writes = Array.from({ length: 50 }, (_unused, i) => store.append(1, [entry(`${i}`)]).then(() => done.push(i)))
    await store.close()
    await Promise.resolve()
    expect(done).toHaveLength(50)
    await Promise.all(writes)
    expect(await texts(await open(path))).toHaveLength(50)
  })

  onLinux('opened and closed 100 times leaves no descriptor, no mapping and no lock behind', async () => {
    const path = await scratchFolder()
    for (let round = 0; round < 100; round++) {
      const store = new LmdbStore(path)
      await store.open(namespace)
      const waiting = store.read(1, round, 10, never)
      await store.append(1, [entry(`${round}`)])
      expect(await waiting).toHaveLength(1)
      if (round === 0) expect(openFiles(path)).toEqual(['data.mdb', 'data.mdb', 'lock.mdb'])
      await store.close()
    }
    expect(openFiles(path)).toEqual([])
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain(path)
    const inode = lstatSync(join(path, 'data.mdb')).ino.toString(16)
    expect(watchedInodes()).not.toContain(inode)
    expect(await texts(await open(path))).toHaveLength(100)
  })
})

/** Which files below a folder this process has open. */
function openFiles(path: string): string[] {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return realpathSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return links
    .filter((link) => link.startsWith(`${realpathSync(path)}/`))
    .map((link) => relative(realpathSync(path), link))
    .sort()
}

/** Inodes, in hex, of the files that this process is told the changes of. */
function watchedInodes(): string[] {
  return readdirSync('/proc/self/fdinfo').flatMap((fd) => {
    try {
      return [...readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').matchAll(/^inotify .*\bino:([0-9a-f]+)/gm)].map((match) => match[1] as string)
    } catch {
      return []
    }
  })
}
