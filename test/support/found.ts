/** What is found, against what a look at every record says. */
import { expect } from 'vitest'
import type { ActorPage, ActorQuery, ActorSystem, FoundActor, Store } from '../../src/index.js'

/** The addresses of actors that were found. */
export function addressesOf({ actors }: { readonly actors: readonly { readonly address: string }[] }): string[] {
  return actors.map(({ address }) => address)
}

/** All pages of it. */
export async function findAll(system: Pick<ActorSystem, 'find'>, query: ActorQuery): Promise<FoundActor[]> {
  const found: FoundActor[] = []
  for (let page: ActorPage | undefined; !page || page.cursor !== undefined; ) {
    page = await system.find({ ...query, ...(page?.cursor === undefined ? {} : { cursor: page.cursor }) })
    found.push(...page.actors)
  }
  return found
}

/** `working` and `working.calling` of `{ working: 'calling' }`. */
function statesOf(value: unknown, above = ''): string[] {
  if (typeof value === 'string') return [above + value]
  return Object.entries((value ?? {}) as Record<string, unknown>).flatMap(([key, inner]) => [above + key, ...statesOf(inner, `${above}${key}.`)])
}

/** As its snapshot and status tell of each actor that the store has a record of. */
export async function scan(system: ActorSystem, store: Store): Promise<FoundActor[]> {
  const shards = Array.from({ length: system.owned.of }, (_, shard) => shard)
  const addresses = (await Promise.all(shards.map((shard) => store.find(shard, { limit: 100_000 })))).flatMap((found) => found.actors.map(({ address }) => address)).sort()
  return Promise.all(
    addresses.map(async (address) => {
      const actor = system.actorAt(address)
      const status = (await actor.status())!
      const snapshot = (await actor.snapshot()) as { value: unknown; tags: Iterable<string> } | undefined
      const isSomewhere = snapshot && (status === 'active' || status === 'done')
      return { address: actor.address, status, states: isSomewhere ? statesOf(snapshot.value) : [], tags: isSomewhere ? [...snapshot.tags] : [] }
    }),
  )
}

const sorted = (actors: readonly FoundActor[]): unknown => actors.map(({ states, tags, ...actor }) => ({ ...actor, states: [...states].sort(), tags: [...tags].sort() }))

/** Every way to ask gives what a scan gives. */
export async function expectFound(system: ActorSystem, store: Store, limit = 100): Promise<FoundActor[]> {
  const all = await scan(system, store)
  expect(sorted(await findAll(system, { limit }))).toEqual(sorted(all))
  const states = new Set(all.flatMap((actor) => actor.states))
  const tags = new Set(all.flatMap((actor) => actor.tags))
  const where = async (query: ActorQuery, fits: (actor: FoundActor) => boolean): Promise<void> => expect(addressesOf({ actors: await findAll(system, { ...query, limit }) }), JSON.stringify(query)).toEqual(addressesOf({ actors: all.filter(fits) }))
  for (const status of ['active', 'done', 'stopped', 'failed'] as const) await where({ status }, (actor) => actor.status === status)
  for (const state of states) await where({ state }, (actor) => actor.states.includes(state))
  for (const tag of tags) {
    await where({ tag }, (actor) => actor.tags.includes(tag))
    for (const state of states) await where({ tag, state, machine: 'root' }, (actor) => actor.address.startsWith('root/') && actor.tags.includes(tag) && actor.states.includes(state))
  }
  return all
}
