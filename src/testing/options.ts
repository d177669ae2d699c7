/** Checks of what the testing helpers are given, beside those that agents and runs have (mesh/options.ts). */
import { ConfigError } from '../errors.js'
import { having, wrong, type Check } from '../mesh/options.js'
import { isMachine } from '../runtime/xstate/insides.js'

export { aFunction, anything, having, isObject, list, optional, options, record, schema, text, whole, wrong, type Check } from '../mesh/options.js'

export function atLeast(min: number): Check {
  return (name, value) => {
    if (!(Number.isSafeInteger(value) && (value as number) >= min)) wrong(name, `a whole number, at least ${min}`, value)
  }
}

export const aWholeNumber: Check = (name, value) => {
  if (!Number.isSafeInteger(value)) wrong(name, 'a whole number', value)
}

export const aBoolean: Check = (name, value) => {
  if (typeof value !== 'boolean') wrong(name, 'true or false', value)
}

export const anArbitrary = having('an arbitrary of fast-check', 'generate', 'map')

const aStore = having('a store', 'open', 'commit')

/** Stores of the user's, checked each time one is made. */
export function storesOf<A extends unknown[], S>(name: string, make: (...args: A) => S): (...args: A) => S {
  return (...args) => {
    const store = make(...args)
    aStore(name, store)
    return store
  }
}

/** @throws ConfigError */
export function mustBeMachine(who: string, given: unknown): void {
  if (!isMachine(given)) throw new ConfigError(`${who}: expected a machine from setup().createMachine() or createMachine(), got ${given === null ? 'null' : typeof given}.`)
}
