/** Collections that most often hold nothing or one thing, and are made for each turn or kept for each actor. */

/**
 * A map of a few entries: most records have one cell and a timer or two, and an empty `Map` alone takes more memory than
 * they do. One entry stands in the object itself, more in a list, beyond {@link listMax} in a `Map`. Keeps the order of
 * insertion; what is iterated is the entries as they were when the iteration began.
 */
export class SmallMap<K, V> {
  /** The only entry, if there is one and no `more`. */
  private key: K | undefined = undefined
  private value: V | undefined = undefined
  /** Keys and values by turns, or a map. */
  private more: unknown[] | Map<K, V> | undefined = undefined

  get size(): number {
    const { more } = this
    if (more === undefined) return this.key === undefined ? 0 : 1
    return Array.isArray(more) ? more.length / 2 : more.size
  }

  get(key: K): V | undefined {
    const { more } = this
    if (more === undefined) return this.key === key ? this.value : undefined
    if (!Array.isArray(more)) return more.get(key)
    for (let i = 0; i < more.length; i += 2) if (more[i] === key) return more[i + 1] as V
    return undefined
  }

  has(key: K): boolean {
    return this.get(key) !== undefined
  }

  set(key: K, value: V): void {
    const { more } = this
    if (more === undefined) {
      if (this.key === undefined || this.key === key) {
        this.key = key
        this.value = value
        return
      }
      this.more = [this.key, this.value, key, value]
      this.key = undefined
      this.value = undefined
      return
    }
    if (!Array.isArray(more)) {
      more.set(key, value)
      return
    }
    for (let i = 0; i < more.length; i += 2) {
      if (more[i] !== key) continue
      more[i + 1] = value
      return
    }
    if (more.length < 2 * listMax) {
      // A list that is pushed to takes room for sixteen more.
      this.more = [...more, key, value]
      return
    }
    const map = new Map<K, V>()
    for (let i = 0; i < more.length; i += 2) map.set(more[i] as K, more[i + 1] as V)
    this.more = map.set(key, value)
  }

  delete(key: K): boolean {
    const { more } = this
    if (more === undefined) {
      if (this.key !== key) return false
      this.key = undefined
      this.value = undefined
      return true
    }
    if (!Array.isArray(more)) return more.delete(key)
    for (let i = 0; i < more.length; i += 2) {
      if (more[i] !== key) continue
      more.splice(i, 2)
      if (more.length === 0) this.more = undefined
      return true
    }
    return false
  }

  keys(): readonly K[] {
    const { more } = this
    if (more === undefined) return this.key === undefined ? [] : [this.key]
    return Array.isArray(more) ? (everySecond(more, 0) as K[]) : [...more.keys()]
  }

  values(): readonly V[] {
    const { more } = this
    if (more === undefined) return this.key === undefined ? [] : [this.value as V]
    return Array.isArray(more) ? (everySecond(more, 1) as V[]) : [...more.values()]
  }
}

function everySecond(entries: readonly unknown[], from: 0 | 1): unknown[] {
  const found: unknown[] = []
  for (let i = from; i < entries.length; i += 2) found.push(entries[i])
  return found
}

/** The list with one more. One that is pushed to takes room for sixteen more, so the first is a list of its own; an empty list may be shared. */
export function withOne<T>(list: readonly T[] | undefined, one: T): T[] {
  if (list === undefined || list.length === 0) return [one]
  ;(list as T[]).push(one)
  return list as T[]
}

/** From here on a list is searched more slowly than a map. */
const listMax = 8
