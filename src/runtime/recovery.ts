/**
 * What a new owner takes up before it handles its first message: actions that were not confirmed run again, effects
 * without an outcome start as a further attempt under the same key, messages to other shards are delivered.
 */
import type { RuntimeContext } from './context.js'
import { effectIdOf, type StoredEffect } from './effects.js'
import type { Address } from './identity.js'
import type { Recovery } from './ports/store.js'
import type { StoredAction } from './stored-record.js'
import type { Shard } from './shard.js'
import { deadlineKey } from './xstate/actor-tree.js'

/** Records read, and effects counted, at once. */
const pageMax = 256
/** An effect that has run this long without killing the process is suspected no more, ms. */
export const effectSurvivedMs = 10_000

/** @param isPast whether the shard has been handed over meanwhile: then nothing more is begun */
export async function recover(shard: Shard, context: RuntimeContext, recovery: Recovery, isPast: () => boolean): Promise<void> {
  shard.suspects.restore(recovery.suspects)
  for (const entry of recovery.outbox) shard.relay.push(entry)
  await runActionsAgain(shard, recovery.actions, isPast)
  if (!isPast()) await startEffectsAgain(shard, context, recovery.effects, isPast)
  const total = recovery.actions.length + recovery.effects.length
  if (total > 0) context.logger.info({ shard: shard.number, actions: recovery.actions.length, effects: recovery.effects.length }, 'recovered what the last owner left')
}

async function runActionsAgain(shard: Shard, actions: Recovery['actions'], isPast: () => boolean): Promise<void> {
  const { suspects } = shard
  for (const [id, text] of inOrder(actions)) {
    const address = (JSON.parse(text) as StoredAction).address as Address
    await shard.residents.load([address])
    if (isPast()) return
    const resident = shard.residents.get(address)!
    // A blocked actor's actions wait in the store for whoever can run it.
    if (resident.blocked) continue
    const suspect = `a${id}`
    if (suspects.counting) {
      const batch = shard.newBatch()
      if (suspects.isGuilty(suspect)) {
        shard.dispatcher.quarantine(batch, resident, `action ${id}`, suspects.attemptsAt(suspect))
        await shard.submit(batch)
        continue
      }
      suspects.count(batch, suspect)
      if (!(await shard.submit(batch)) || isPast()) return
    }
    if (resident.record) shard.acts.again(resident.record, id, text)
    else shard.confirm(id)
    suspects.clear(suspect)
  }
}

async function startEffectsAgain(shard: Shard, context: RuntimeContext, effects: Recovery['effects'], isPast: () => boolean): Promise<void> {
  // What was under way when the process died more than once is started alone, the rest page by page.
  const twice = ([id]: readonly [string, string]): boolean => shard.suspects.attemptsAt(`e${id}`) > 0
  const pages: (readonly (readonly [string, string])[])[] = effects.filter(twice).map((effect) => [effect])
  const rest = effects.filter((effect) => !twice(effect))
  for (let i = 0; i < rest.length; i += pageMax) pages.push(rest.slice(i, i + pageMax))
  for (const page of pages) if (!(await startPage(shard, context, page, isPast))) return
  // Also of effects that have ended since: their counts would stand for ever.
  if (shard.suspects.hasEffects) shard.clearEffectSuspectsAfter(effectSurvivedMs)
}

async function startPage(shard: Shard, context: RuntimeContext, page: readonly (readonly [string, string])[], isPast: () => boolean): Promise<boolean> {
  const { suspects } = shard
  const stored = page.map(([id, text]) => ({ id, effect: JSON.parse(text) as StoredEffect }))
  await shard.residents.load([...new Set(stored.map(({ effect }) => effect.address))])
  if (isPast()) return false
  const batch = shard.newBatch()
  const starts: (() => void)[] = []
  for (const { id, effect } of stored) {
    const resident = shard.residents.get(effect.address)!
    if (resident.blocked || context.effects.isRunning(id)) continue
    const { record } = resident
    const cell = record?.tree.cells.get(effect.cell)
    if (record?.status !== 'active' || cell?._snapshot.status !== 'active' || effectIdOf(record, cell) !== id) {
      batch.part(effect.address).endEffect(id)
      continue
    }
    // The timer that ends it is due before anything else.
    if ((record.tree.timers.get(deadlineKey(effect.cell))?.dueAt ?? Infinity) <= shard.clock.now()) continue
    if (suspects.counting) {
      if (suspects.isGuilty(`e${id}`)) {
        shard.dispatcher.quarantine(batch, resident, `effect ${id}`, suspects.attemptsAt(`e${id}`))
        continue
      }
      suspects.count(batch, `e${id}`)
    }
    const attempt = effect.attempt + 1
    batch.part(effect.address).beginEffect(id, JSON.stringify({ ...effect, attempt } satisfies StoredEffect))
    starts.push(() => context.effects.start(record, cell, attempt))
  }
  if (batch.isEmpty) return true
  if (!(await shard.submit(batch)) || isPast()) return false
  for (const start of starts) start()
  return true
}

/** Ids end in `:turn/place`: actions of one actor run again as they ran first. */
function inOrder(actions: Recovery['actions']): Recovery['actions'] {
  const place = (id: string): readonly [number, number] => {
    const [, turn, index] = /:(\d+)\/(\d+)$/.exec(id) ?? []
    return [Number(turn), Number(index)]
  }
  return [...actions].sort(([a], [b]) => place(a)[0] - place(b)[0] || place(a)[1] - place(b)[1])
}
