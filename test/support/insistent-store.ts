/**
 * What a caller does whose write failed or whose reply was lost: the same again, until it is answered; and whose
 * process was killed: the same from another one. With a faulty store inside, the store contract must come out as
 * without.
 */
import { isHoldfastError } from '../../src/errors.js'
import { systemClock } from '../../src/runtime/ports/clock.js'
import type { OpenOptions, Store } from '../../src/runtime/ports/store.js'
import { FaultyStore, type Fault } from '../../src/testing/index.js'

const writes = new Set(['claim', 'renew', 'release', 'append', 'commit', 'deliver', 'trim', 'redrive', 'mark', 'seal', 'unseal', 'import', 'clear'])

/** What may be done to every third durable write. */
export const faults: readonly (readonly [name: string, fault: Fault])[] = [
  ['fails', 'fail'],
  ['loses its reply', 'lose-reply'],
  ['is answered late', { delayMs: 3 }],
  ['kills its process before', 'kill-before'],
  ['kills its process after', 'kill-after'],
]

/** @param connect another connection to the same database */
export function insistent(connect: () => Store, fault: Fault): Store {
  let count = 0
  let opened: OpenOptions | undefined
  let current: FaultyStore
  /** Resolves when the process that holds `current` has been killed. */
  let death: Promise<typeof died>
  const watchers = new Set<{ watch(): void }>()
  const begin = (): void => {
    death = new Promise((resolve) => {
      current = new FaultyStore(connect(), { clock: systemClock, onWrite: () => (count++ % 3 === 1 ? fault : undefined), onDeath: () => resolve(died) })
    })
  }
  let reviving: Promise<void> | undefined
  const revive = (): Promise<void> =>
    (reviving ??= (async () => {
      begin()
      if (opened) await current.open(opened)
      for (const watcher of watchers) watcher.watch()
      reviving = undefined
    })())
  begin()

  const call = async (name: string, args: unknown[]): Promise<unknown> => {
    for (;;) {
      const method = Reflect.get(current, name) as (...a: unknown[]) => Promise<unknown>
      try {
        const answer = await Promise.race([method.apply(current, args), death])
        if (answer !== died) return answer
        await revive()
      } catch (error) {
        if (!isHoldfastError(error) || error.code !== 'STORE') throw error
      }
    }
  }
  // One write after the other, so that a repeat does not overtake what was asked for later (the runtime's lanes do the same).
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = (name: string, args: unknown[]): Promise<unknown> => {
    const result = last.then(() => call(name, args))
    last = result.catch(() => {})
    return result
  }
  return new Proxy({} as Store, {
    get(_, name) {
      if (typeof name !== 'string' || name === 'then') return undefined
      if (name === 'watch') {
        return (shard: number, onChange: () => void) => {
          let stop = (): void => {}
          let first = true
          const watcher = {
            watch: () => {
              stop = current.watch(shard, onChange)
              if (!first) onChange()
              first = false
            },
          }
          watcher.watch()
          watchers.add(watcher)
          return () => {
            watchers.delete(watcher)
            stop()
          }
        }
      }
      return (...args: unknown[]) => {
        if (name === 'open') opened = args[0] as OpenOptions
        return writes.has(name) ? inTurn(name, args) : call(name, args)
      }
    },
  })
}

const died: unique symbol = Symbol('died')
