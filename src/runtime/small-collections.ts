/** Collections that most often hold nothing or one thing, and are made for each turn or kept for each actor. */

/**
 * A map of a few entries, in a list: most records have one cell and a timer or two, and an empty `Map` alone takes more
 * memory than they do. Beyond {@link listMax} entries it is a `Map`. Keeps the order of insertion; what is iterated is
 * the entries as they were when the iteration began.
 */
export class SmallMap<K, V> {
  /** Keys and values by turns, or a map. */
  private entries: unknown[] | Map<K, V> = none

  get size(): number {
    return Array.isArray(this.entries) ? this.entries.length / 2 : this.entries.size
  }

  get(key: K): V | undefined {
    const { entries } = this
    if (!Array.isArray(entries)) return entries.get(key)
    for (let i = 0; i < entries.length; i += 2) if (entries[i] === key) return entries[i + 1] as V
    return undefined
  }

  has(key: K): boolean {
    return this.get(key) !== undefined
  }

  set(key: K, value: V): void {
    const { entries } = this
    if (!Array.isArray(entries)) {
      entries.set(key, value)
      return
    }
    for (let i = 0; i < entries.length; i += 2) {
      if (entries[i] !== key) continue
      entries[i + 1] = value
      return
    }
    if (entries.length < 2 * listMax) {
      // A list that is pushed to takes room for sixteen more.
      this.entries = [...entries, key, value]
      return
    }
    const map = new Map<K, V>()
    for (let i = 0; i < entries.length; i += 2) map.set(entries[i] as K, entries[i + 1] as V)
    this.entries = map.set(key, value)
  }

  delete(key: K): boolean {
    const { entries } = this
    if (!Array.isArray(entries)) return entries.delete(key)
    for (let i = 0; i < entries.length; i += 2) {
      if (entries[i] !== key) continue
      entries.splice(i, 2)
      return true
    }
    return false
  }

  keys(): readonly K[] {
    return Array.isArray(this.entries) ? (everySecond(this.entries, 0) as K[]) : [...this.entries.keys()]
  }

  values(): readonly V[] {
    return Array.isArray(this.entries) ? (everySecond(this.entries, 1) as V[]) : [...this.entries.values()]
  }
}

function everySecond(entries: readonly unknown[], from: 0 | 1): unknown[] {
  if (entries.length === 2) return [entries[from]]
  const found: unknown[] = []
  for (let i = from; i < entries.length; i += 2) found.push(entries[i])
  return found
}

/** Never changed: the first entry replaces it. */
const none: unknown[] = []

/** The list with one more. One that is pushed to takes room for sixteen more, so the first is a list of its own; an empty list may be shared. */
export function withOne<T>(list: readonly T[] | undefined, one: T): T[] {
  if (list === undefined || list.length === 0) return [one]
  ;(list as T[]).push(one)
  return list as T[]
}

/** From here on a list is searched more slowly than a map. */
const listMax = 8
