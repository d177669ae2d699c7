/**
 * What a caller does whose write failed or whose reply was lost: the same again, until it is answered. With a faulty
 * store inside, the store contract must come out as without.
 */
import { isHoldfastError } from '../../src/errors.js'
import type { Store } from '../../src/runtime/ports/store.js'

const writes = new Set(['claim', 'renew', 'release', 'append', 'commit', 'deliver', 'trim'])

export function insistent(store: Store): Store {
  const made = new Map<string, unknown>()
  return new Proxy(store, {
    get(target, name, receiver) {
      const known = typeof name === 'string' ? made.get(name) : undefined
      if (known) return known
      const method: unknown = Reflect.get(target, name, receiver)
      if (typeof method !== 'function') return method
      if (typeof name !== 'string' || !writes.has(name)) return method.bind(target) as unknown
      // One after the other, so that a repeat does not overtake what was asked for later (the runtime's lanes do the same).
      let last: Promise<unknown> = Promise.resolve()
      const insist = (...args: unknown[]): Promise<unknown> => {
        const run = async (): Promise<unknown> => {
          for (;;) {
            try {
              return await (method as (...a: unknown[]) => Promise<unknown>).apply(target, args)
            } catch (error) {
              if (!isHoldfastError(error) || error.code !== 'STORE') throw error
            }
          }
        }
        const result = last.then(run, run)
        last = result.catch(() => {})
        return result
      }
      made.set(name, insist)
      return insist
    },
  })
}
