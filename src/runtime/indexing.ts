/**
 * Makes the actors of a shard found that a version wrote which kept no index: once for each shard, beside its work, a page at a
 * time. Those that cannot be read here are found by their machine and key alone until a process that can read them handles
 * their next message.
 */
import type { Batch } from './batch.js'
import type { RuntimeContext } from './context.js'
import type { Address } from './identity.js'
import type { Shard } from './shard.js'
import { indexedStream } from './streams.js'

/** Records read at once. */
const pageMax = 64
const retryMs = 1_000

/** With the first commit of a shard: all its actors are found from the beginning. */
export function noteIndexed(batch: Batch): void {
  for (const part of batch.parts.values()) return part.log(indexed)
}

const indexed = { stream: indexedStream, text: '1', max: 1 }
/** The part that says so where no actor's does. */
const nobody = '-/-' as Address

/** @param isPast whether the shard has been handed over meanwhile, or begins again */
export async function indexShard(shard: Shard, context: RuntimeContext, isPast: () => boolean): Promise<void> {
  while (!isPast()) {
    try {
      if ((await context.store.log(shard.number, indexedStream, 0, 1)).length === 0) await walk(shard, context, isPast)
      return
    } catch (error) {
      if (isPast()) return
      context.logger.warn({ shard: shard.number, error: (error as Error).message }, 'actors cannot be indexed; trying again')
      await new Promise<void>((resolve) => context.clock.after(retryMs, resolve))
    }
  }
}

async function walk(shard: Shard, { store, logger }: RuntimeContext, isPast: () => boolean): Promise<void> {
  let count = 0
  for (let after = ''; ; ) {
    const page = await store.find(shard.number, { limit: pageMax, ...(after === '' ? {} : { after }) })
    let left = page.actors.map(({ address }) => address as Address)
    // One that has been dropped from memory again is read once more.
    do {
      await shard.residents.load(left)
      if (isPast()) return
      const batch = shard.newBatch()
      left = left.filter((address) => {
        const resident = shard.residents.get(address)
        const found = resident?.record?.index()
        if (!found) return !resident
        const part = batch.part(address)
        part.write(found.fields)
        part.terms = found.terms
        count++
        return false
      })
      if (left.length === 0 && page.through === undefined) batch.part(nobody).log(indexed)
      if (!batch.isEmpty && !(await shard.submit(batch))) return
      if (isPast()) return
    } while (left.length > 0)
    if (page.through === undefined) break
    after = page.through
  }
  if (count > 0) logger.info({ shard: shard.number, actors: count }, 'actors of an earlier version are found now')
}
