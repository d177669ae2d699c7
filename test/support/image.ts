/** The store in memory as it was, to be put back: wholly, as an older backup or a failover to a stale replica does, or one shard, as on a cluster. */
import type { MemoryDatabase } from '../../src/adapters/memory/index.js'
import type { OutboxEntry } from '../../src/runtime/ports/store.js'
import type { Restored } from './history.js'

type Namespace = NonNullable<ReturnType<MemoryDatabase['namespaces']['get']>>
type Shard = Namespace['shards'][number]

export interface Image {
  readonly shards: readonly object[]
  readonly rest: Pick<Namespace, 'nodes' | 'beats' | 'accepted' | 'halted'>
  readonly numbers: readonly number[]
}

/** Whose connections these are, the store does not remember. */
const kept = new Set(['readers', 'watchers'])

export function imageOf(namespace: Namespace): Image {
  const { nodes, beats, accepted, halted } = namespace
  // Of what waits in an outbox it has the very objects that it was given.
  const written = ({ number, to, entry: { id, to: actor, text, rememberUntil, always } }: OutboxEntry): OutboxEntry => ({ number, to, entry: { id, to: actor, text, rememberUntil, always } })
  const plain = (shard: Shard): object => ({ ...Object.fromEntries(Object.entries(shard).filter(([name]) => !kept.has(name))), outbox: new Map([...shard.outbox].map(([number, entry]) => [number, written(entry)])) })
  return structuredClone({ shards: namespace.shards.map(plain), rest: { nodes, beats, accepted, halted }, numbers: namespace.shards.map(({ number }) => number) })
}

/** @param only the shard that goes back; absent: everything does */
export function restore(namespace: Namespace, image: Image, only?: number): Restored[] {
  const copy = structuredClone(image)
  const restored: Restored[] = []
  namespace.shards.forEach((shard, number) => {
    if (only !== undefined && number !== only) return
    const from = shard.number
    for (const [name, value] of Object.entries(copy.shards[number]!)) {
      const now = (shard as unknown as Record<string, unknown>)[name]
      if (now instanceof Map) {
        now.clear()
        for (const [key, held] of value as Map<unknown, unknown>) now.set(key, held)
      } else (shard as unknown as Record<string, unknown>)[name] = value
    }
    restored.push({ shard: number, from, to: shard.number })
  })
  if (only === undefined) {
    const { nodes, ...rest } = copy.rest
    namespace.nodes.clear()
    for (const [id, node] of nodes) namespace.nodes.set(id, node)
    Object.assign(namespace, rest)
  }
  return restored
}
