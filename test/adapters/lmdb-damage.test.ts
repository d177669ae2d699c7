/** Data files that are not what they should be: each is refused by name or has lost nothing, and none ends the process. */
import { open as openLmdb } from 'lmdb'
import { createHash } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError } from '../../src/errors.js'
import { Environment } from '../../src/adapters/lmdb/environment.js'
import { LmdbStore } from '../../src/adapters/lmdb/index.js'
import { folderKey } from '../../src/adapters/lmdb/keys.js'
import type { Store } from '../../src/runtime/ports/store.js'
import { claim, commitOf, entry, removeScratchFolders, scratchFolder, sealed } from '../support/lmdb-data.js'
import { LmdbProcess } from '../support/lmdb-process.js'
import { Random } from '../support/random.js'

const namespace = { namespace: 'n', shards: 4 }
const addresses = Array.from({ length: 12 }, (_, i) => `m/${i}`)

/** What a store held at some time, and its file then. */
interface Snapshot {
  readonly name: string
  readonly file: Buffer
  readonly contents: unknown
}

type Reading = Pick<Store, 'load' | 'log' | 'recover' | 'find' | 'timers'>

async function contentsOf(store: Reading): Promise<unknown> {
  return Promise.all([store.load(1, addresses), store.log(1, 's', 0, 1_000), store.recover(1), store.find(1, {}), store.timers(1, 1e9, 1_000)])
}

/** The newer head page: where the tree of free pages begins, and which page is the last. */
function headOf(file: Buffer): { free: number; last: number } {
  const at = file.readBigUInt64LE(0x98) > file.readBigUInt64LE(pageBytes + 0x98) ? 0 : pageBytes
  return { free: Number(file.readBigUInt64LE(at + 0x58)), last: Number(file.readBigUInt64LE(at + 0x90)) }
}

const pageBytes = 4_096
const snapshots: Snapshot[] = []

beforeAll(async () => {
  const path = await scratchFolder()
  const store = new LmdbStore(path)
  await store.open(namespace)
  const lease = await claim(store)
  const take = async (name: string): Promise<void> => void snapshots.push({ name, file: readFileSync(join(path, 'data.mdb')), contents: await contentsOf(store) })
  const commit = (i: number, chars: number, address = addresses[i % addresses.length] as string): Promise<unknown> => {
    const part = { address, life: 'created' as const, fields: new Map([['f', sealed(`${i}`, chars)]]), timers: new Map([[`t${i % 9}`, i]]), logs: [{ stream: 's', text: `${i}`, max: 20 }] }
    return store.commit(commitOf(lease, i, [part])).then((result) => expect(result.ok).toBe(true))
  }
  for (let i = 1; i <= 200; i++) {
    await commit(i, (i * 977) % 9_000)
    const { free, last } = headOf(readFileSync(join(path, 'data.mdb')))
    if (i >= 8 && snapshots.length === 0 && free === last) await take('whose last page begins the tree of free pages')
  }
  await take('that has been written for long')
  await commit(201, 100_000, 'm/0')
  await commit(202, 1, 'm/0')
  await take('whose last pages are free')
  await store.close()
  await removeScratchFolders()
})

afterEach(async () => {
  await LmdbProcess.killAll()
  await removeScratchFolders()
})

let prober: LmdbProcess

/** Opens a file in another process, and if that works reads all of it and writes. */
async function probe(file: Buffer, snapshot: Snapshot | undefined): Promise<'refused' | 'intact'> {
  const path = await scratchFolder()
  writeFileSync(join(path, 'data.mdb'), file)
  const refusal = await prober.open(path, namespace).then(
    () => undefined,
    (error: unknown) => error,
  )
  if (refusal !== undefined) {
    expect(refusal).toMatchObject({ code: 'CONFIG', message: expect.stringContaining(join(path, 'data.mdb')) as string })
    expect(digest(readFileSync(join(path, 'data.mdb')))).toBe(digest(file))
    rmSync(path, { recursive: true })
    return 'refused'
  }
  if (!snapshot) throw new Error('it was opened')
  expect(await contentsOf(prober.store)).toEqual(snapshot.contents)
  // Enough to use up the pages that are free.
  for (let i = 0; i < 8; i++) await prober.append(2, [entry(`${i}`, { text: sealed(`${i}`, 8_000) })])
  expect(await contentsOf(prober.store)).toEqual(snapshot.contents)
  await prober.store.close()
  rmSync(path, { recursive: true })
  return 'intact'
}

function digest(file: Buffer): string {
  return createHash('sha1').update(file).digest('hex')
}

describe('a data file', () => {
  test('that is cut off anywhere is refused, or lacks nothing', async () => {
    prober = await LmdbProcess.start()
    const random = new Random(1)
    expect(snapshots).toHaveLength(3)
    for (const snapshot of snapshots) {
      const { file } = snapshot
      const counts = { refused: 0, intact: 0 }
      const boundaries = Array.from({ length: file.length / pageBytes }, (_, page) => (page + 1) * pageBytes)
      for (const length of [...boundaries, ...random.times(20, () => 1 + random.below(file.length - 1))]) {
        try {
          counts[await probe(file.subarray(0, length), snapshot)]++
        } catch (error) {
          throw new Error(`a file ${snapshot.name}, cut off after ${length} of ${file.length} bytes: ${(error as Error).message}`, { cause: error })
        }
      }
      console.log(`a file ${snapshot.name}, cut off at ${counts.refused + counts.intact} places: ${counts.refused} times refused, ${counts.intact} times intact`)
      // Without a cut, and where only free pages are missing.
      expect(counts.intact).toBeGreaterThanOrEqual(snapshot.name.endsWith('free') ? 10 : 1)
      expect(counts.refused).toBeGreaterThan(20)
    }
  })

  test('that LMDB did not write, or wrote in another format, is refused and left as it is', async () => {
    prober = await LmdbProcess.start()
    const { file } = snapshots.at(-1) as Snapshot
    const changed = (change: (file: Buffer) => void): Buffer => {
      const copy = Buffer.from(file)
      change(copy)
      return copy
    }
    const files: Readonly<Record<string, Buffer>> = {
      'one byte': Buffer.from([0]),
      text: Buffer.from('hello '.repeat(5_000)),
      zeros: Buffer.alloc(64 * pageBytes),
      noise: Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * 7_919) % 251)),
      'a database of SQLite': Buffer.concat([Buffer.from('SQLite format 3\u0000'), Buffer.alloc(2 * pageBytes)]),
      'the first head page alone': file.subarray(0, pageBytes),
      'another magic number': changed((copy) => copy.writeUInt32LE(0, 0x18)),
      'the format of other builds of LMDB': changed((copy) => copy.writeUInt32LE(1, 0x1c)),
      'a newer format of LMDB': changed((copy) => copy.writeUInt32LE(3, pageBytes + 0x1c)),
      'pages of no size': changed((copy) => copy.writeUInt32LE(0, 0x30)),
      'pages of odd size': changed((copy) => copy.writeUInt32LE(5_000, 0x30)),
      'a second head page that was lost': changed((copy) => copy.fill(0, pageBytes, 2 * pageBytes)),
      'a first head page that was lost': changed((copy) => copy.fill(0, 0, pageBytes)),
    }
    for (const [name, foreign] of Object.entries(files)) expect([name, await probe(foreign, undefined)]).toEqual([name, 'refused'])
  })

  test('that is empty is new', async () => {
    const path = await scratchFolder()
    writeFileSync(join(path, 'data.mdb'), '')
    writeFileSync(join(path, 'lock.mdb'), '')
    const store = new LmdbStore(path)
    await store.open(namespace)
    expect(await store.append(1, [entry('a')])).toEqual([{ seq: 1 }])
    await store.close()
  })
})

describe('a lock file', () => {
  test('may hold anything, or be missing, when nobody has the folder open', async () => {
    prober = await LmdbProcess.start()
    const path = await scratchFolder()
    await prober.open(path, namespace)
    await prober.append(1, [entry('a')])
    await prober.store.close()
    const whole = readFileSync(join(path, 'lock.mdb'))
    for (const lock of [undefined, '', 'x', 'hello '.repeat(2_000), whole.subarray(0, 100), whole.subarray(0, 4_096), whole.fill(0xff), Buffer.alloc(1 << 20)]) {
      rmSync(join(path, 'lock.mdb'))
      if (lock !== undefined) writeFileSync(join(path, 'lock.mdb'), lock)
      await prober.open(path, namespace)
      expect(await prober.append(1, [entry('a')])).toMatchObject({ appended: ['duplicate'] })
      await prober.store.close()
    }
  })
})

describe('a database that is not ours', () => {
  test.each<[string, object, unknown]>([
    ['with texts as keys', {}, 'key'],
    ['with numbers as keys', {}, 1],
    ['with bytes as keys, the greatest there are', { keyEncoding: 'binary' }, Buffer.alloc(1_978, 0xff)],
    ['with bytes as keys, the least there are', { keyEncoding: 'binary' }, Buffer.from([0])],
    ['with several values for a key', { dupSort: true, encoding: 'ordered-binary' }, 'key'],
    ['with larger pages', { pageSize: 8_192 }, 'key'],
    ['with values that are compressed', { compression: true }, 'key'],
  ])('is refused and left as it is: %s', async (_, options, key) => {
    const path = await scratchFolder()
    const foreign = openLmdb({ path, noSubdir: false, ...options })
    await foreign.put(key as string, 'value'.repeat(300))
    await foreign.close()
    const before = digest(readFileSync(join(path, 'data.mdb')))
    const refusal: unknown = await new LmdbStore(path).open(namespace).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(ConfigError)
    expect((refusal as Error).message).toContain(`${path} holds another program's database`)
    expect(digest(readFileSync(join(path, 'data.mdb')))).toBe(before)
    const again = openLmdb({ path, noSubdir: false, ...options })
    expect(again.get(key as string)).toBe('value'.repeat(300))
    await again.close()
  })

  test('is refused with databases of its own within it', async () => {
    const path = await scratchFolder()
    const foreign = openLmdb({ path, noSubdir: false, maxDbs: 3 })
    await foreign.openDB('inner', {}).put('key', 1)
    await foreign.close()
    await expect(new LmdbStore(path).open(namespace)).rejects.toThrow(/another program/)
  })

  test('is refused where a newer version of this one wrote it, and read by the version that wrote it', async () => {
    const path = await scratchFolder()
    const store = new LmdbStore(path)
    await store.open(namespace)
    await store.close()
    const setFormat = async (format: number): Promise<void> => {
      const environment = await Environment.enter(path, { mapSize: 2 ** 30, writeTimeoutMs: 1_000 })
      await environment.write((draft) => draft.put(folderKey, JSON.stringify({ format, namespaces: 1 })))
      await environment.leave()
    }
    await setFormat(2)
    const refusal: unknown = await store.open(namespace).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(ConfigError)
    expect((refusal as Error).message).toMatch(/format 2 by a newer version, this one reads up to 1/)
    await setFormat(1)
    await store.open(namespace)
    await store.close()
  })
})
