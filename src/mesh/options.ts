/**
 * Options at the door. What the types promise is checked where it is given, also for those who have no types: a wrong
 * value is told by its name, what was expected and what came, before anything is started or paid.
 */
import { ConfigError } from '../errors.js'
import { isShare } from '../machines/gate.js'

/** @throws ConfigError that begins with the name of the option */
export type Check = (name: string, value: unknown) => void

/** A check for each key there is: a forgotten one does not compile. */
export type Checks<T> = { readonly [K in keyof Required<T>]: Check }

export function wrong(name: string, expected: string, value: unknown): never {
  throw new ConfigError(`${name}: expected ${expected}, got ${shown(value)}.`)
}

/** Enough of a value to find it again. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`
  if (isThenable(value)) return 'a promise'
  if (isObject(value)) return Object.keys(value).length === 0 ? 'an object without keys' : `an object with ${Object.keys(value).slice(0, 5).join(', ')}`
  return String(value)
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return isObject(value) && typeof value['then'] === 'function'
}

const within = (name: string, key: string): string => (name === '' || name.endsWith(': ') ? `${name}${key}` : `${name}.${key}`)
const written = (number: number): string => number.toLocaleString('en-GB')

export const anything: Check = () => {}

export function optional(check: Check): Check {
  return (name, value) => {
    if (value !== undefined) check(name, value)
  }
}

/** From `min` to `max`, inclusive. */
export function whole(min: number, max: number): Check {
  return (name, value) => {
    if (!(Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max)) wrong(name, `a whole number from ${written(min)} to ${written(max)}`, value)
  }
}

/** From `min` to `max`, inclusive. */
export function number(min: number, max: number): Check {
  return (name, value) => {
    if (!(typeof value === 'number' && value >= min && value <= max)) wrong(name, `a number from ${written(min)} to ${written(max)}`, value)
  }
}

/** A time, ms: at least 1, at most 100 years. */
export const milliseconds = whole(1, 100 * 365 * 24 * 3_600_000)

export const share: Check = (name, value) => {
  if (!isShare(value)) wrong(name, 'a number from 0 to 1', value)
}

/** Not empty, of at most so many UTF-16 units. */
export function text(max: number, min = 1): Check {
  return (name, value) => {
    if (!(typeof value === 'string' && value.length >= min && value.length <= max)) wrong(name, `a text of ${min === 0 ? 'at most' : `${min} to`} ${written(max)} characters`, value)
  }
}

export function oneOf(...values: readonly unknown[]): Check {
  return (name, value) => {
    if (!values.includes(value)) wrong(name, values.map((each) => JSON.stringify(each)).join(' or '), value)
  }
}

export const aFunction: Check = (name, value) => {
  if (typeof value !== 'function') wrong(name, 'a function', value)
}

/** Something with these methods, said in words. */
export function having(expected: string, ...methods: readonly string[]): Check {
  return (name, value) => {
    if (!isObject(value) || !methods.every((method) => typeof value[method] === 'function')) wrong(name, expected, value)
  }
}

export const schema = having('a zod schema', 'safeParse')

export function list(check: Check, min = 0): Check {
  return (name, value) => {
    if (!Array.isArray(value) || value.length < min) wrong(name, min === 0 ? 'a list' : `a list of at least ${min}`, value)
    ;(value as unknown[]).forEach((element, i) => check(`${name}[${i}]`, element))
  }
}

/** Values by name. */
export function record(check: Check): Check {
  return (name, value) => {
    if (!isObject(value)) wrong(name, 'an object', value)
    for (const [key, inner] of Object.entries(value as object)) check(within(name, key), inner)
  }
}

/** With at least these keys. */
export function shape<T>(checks: Checks<T>): Check {
  return (name, value) => {
    if (!isObject(value)) wrong(name.replace(/: $/, '') || 'options', `an object with ${Object.keys(checks).join(', ')}`, value)
    for (const [key, check] of Object.entries<Check>(checks)) check(within(name, key), (value as Record<string, unknown>)[key])
  }
}

/** With these keys and no others. */
export function options<T>(checks: Checks<T>): Check {
  const fits = shape(checks)
  return (name, value) => {
    fits(name, value)
    const unknown = Object.keys(value as object).find((key) => !Object.hasOwn(checks, key))
    if (unknown !== undefined) throw new ConfigError(`${within(name, unknown)}: there is no such option (there are: ${Object.keys(checks).join(', ')}).`)
  }
}

/** Without what is undefined, so that a default is not overwritten by it. */
export function given<T extends object>(value: T | undefined): T {
  return Object.fromEntries(Object.entries(value ?? {}).filter(([, inner]) => inner !== undefined)) as T
}

/** What of a value does not fit its schema, and where. */
export function issuesOf(error: { readonly issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[] }): string {
  const shown = error.issues.slice(0, 3).map(({ path, message }) => `${path.length > 0 ? `at ${path.map(String).join('.')}: ` : ''}${message}`)
  return `${shown.join('; ')}${error.issues.length > 3 ? ` and ${error.issues.length - 3} more` : ''}`
}

/**
 * What a function of the user's gave within a turn, which cannot wait.
 *
 * @throws ConfigError for a promise
 */
export function atOnce<T>(name: string, value: T): T {
  if (!isThenable(value)) return value
  // Nobody waits for it any more.
  void Promise.resolve(value).catch(() => {})
  throw new ConfigError(`${name}: expected its result at once, got a promise. What takes time belongs in gather or in an external action.`)
}
