// Runs in the copy of the project: all mutants of the Lua scripts against random commands, in one process, because most
// are noticed within a sequence or two. HOLDFAST_MUTANTS names a JSON file of them; what became of each goes beside it.
import { createHash } from 'node:crypto'
import { appendFileSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { expect, test } from 'vitest'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { RedisStore } from '../../src/adapters/redis/index.js'
import { scripts } from '../../src/adapters/redis/scripts.js'
import { RedisServer } from './redis-server.js'
import { bounds, compare, Mismatch } from './store-commands.js'

interface Mutant {
  readonly key: string
  readonly file: string
  readonly text: string
}

const file = process.env['HOLDFAST_MUTANTS']!
const seeds = 40
const length = 120
const folder = 'src/adapters/redis'

/** As scripts.ts reads them, with one file as it is given. */
function textsWith(mutant: Mutant | undefined): Map<string, string> {
  const source = (name: string): string => (mutant && basename(mutant.file) === `${name}.lua` ? mutant.text : readFileSync(`${folder}/${name}.lua`, 'utf8'))
  return new Map(Object.keys(scripts).map((name) => [name, source(name).replace(/^--@include (\S+)$/gm, (_, included: string) => source(included))]))
}

function put(texts: ReadonlyMap<string, string>): void {
  for (const [name, text] of texts) Object.assign(scripts[name as keyof typeof scripts], { text, hash: createHash('sha1').update(text).digest('hex') })
}

test('mutants of the scripts', async () => {
  const server = await RedisServer.start({ appendfsync: 'everysec' })
  let namespaces = 0
  /** The seed that shows it. */
  const shownBy = async (): Promise<number | undefined> => {
    for (let seed = 1; seed <= seeds; seed++) {
      const stores = [
        { name: 'memory', store: new MemoryStore({ database: new MemoryDatabase() }) },
        { name: 'redis', store: new RedisStore(server.url, { commandDeadlineMs: 3_000 }) },
      ]
      try {
        for (const { store } of stores) await store.open({ namespace: `n${namespaces}`, ...bounds })
        namespaces++
        await compare(seed, length, stores, { sharesShards: true })
      } catch (error) {
        if (error instanceof Mismatch) return seed
        // It may run a script that never ends.
        await server.kill()
        await server.restart()
        return seed
      } finally {
        await Promise.all(stores.map(({ store }) => store.close()))
      }
    }
    return undefined
  }
  put(textsWith(undefined))
  expect(await shownBy(), 'without a mutant').toBe(undefined)
  for (const mutant of JSON.parse(readFileSync(file, 'utf8')) as Mutant[]) {
    put(textsWith(mutant))
    appendFileSync(`${file}.found`, `${JSON.stringify({ key: mutant.key, seed: await shownBy() })}\n`)
  }
  await server.stop()
}, 7_200_000)
