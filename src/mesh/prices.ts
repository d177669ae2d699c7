/**
 * What models cost. Prices are data with a date; a user's own go before them. No provider's API tells them, so the
 * source is the provider's published list as known on the date.
 */
import { isDateText } from '../machines/calendar.js'
import type { Amounts } from '../machines/ledger.js'
import { list, number, optional, shape, whole, wrong, type Check } from './options.js'
import type { ModelUsage } from './ports/model-client.js'

/** Dollars per million tokens. */
export interface Price {
  readonly input: number
  readonly output: number
  /** Default: the input price. */
  readonly cacheRead?: number
  /** Default: the input price. Of a provider that asks more for longer keeping: the highest that its client can cause. */
  readonly cacheWrite?: number
}

/** Prices of one model; where they depend on the length of the prompt, one for each length, the shortest first. */
export type ModelPrice = Price | { readonly tiers: readonly (Price & { /** Prompt tokens up to which it holds, inclusive; absent: all longer ones. */ readonly promptTokensMax?: number })[] }

const dollars = number(0, 1_000_000)
const tier = { input: dollars, output: dollars, cacheRead: optional(dollars), cacheWrite: optional(dollars) }
const onePrice = shape<Price>(tier)
const tieredPrice = shape({ tiers: list(shape({ ...tier, promptTokensMax: optional(whole(1, Number.MAX_SAFE_INTEGER)) }), 1) })

export const modelPrice: Check = (name, value) => {
  const isTiered = typeof value === 'object' && value !== null && 'tiers' in value
  ;(isTiered ? tieredPrice : onePrice)(name, value)
  if (!isTiered) return
  const bounds = (value as { readonly tiers: readonly { readonly promptTokensMax?: number }[] }).tiers.map(({ promptTokensMax = Infinity }) => promptTokensMax)
  if (bounds.some((bound, i) => i > 0 && bound <= bounds[i - 1]!)) wrong(`${name}.tiers`, 'the shortest prompts first, each up to more tokens than the one before', value)
  if (bounds.at(-1) !== Infinity) wrong(`${name}.tiers`, 'a last one without promptTokensMax, for all longer prompts', value)
}

/** A day that there is, `YYYY-MM-DD`. */
export const aDate: Check = (name, value) => {
  if (typeof value !== 'string' || !isDateText(value)) wrong(name, 'a date, YYYY-MM-DD', value)
}

export interface PriceTable {
  /** When the prices were looked up, `YYYY-MM-DD`. */
  readonly asOf: string
  /** By full name `provider/model`. */
  readonly models: Readonly<Record<string, ModelPrice>>
}

const claude = (input: number, output: number, cacheRead = 0.1): Price => ({ input, output, cacheRead: input * cacheRead, cacheWrite: input * 1.25 })

/** Anthropic's list prices per million tokens; cache writes at the 5-minute rate. */
export const defaultPrices: PriceTable = {
  asOf: '2026-11-22',
  models: {
    'anthropic/claude-fable-5-1': claude(10, 50, 0.025),
    'anthropic/claude-fable-5': claude(10, 50),
    'anthropic/claude-mythos-5-1': claude(10, 50),
    'anthropic/claude-mythos-5': claude(10, 50),
    'anthropic/claude-opus-5-5': claude(4, 20, 0.05),
    'anthropic/claude-opus-5': claude(5, 25),
    'anthropic/claude-opus-4-8': claude(5, 25),
    'anthropic/claude-opus-4-7': claude(5, 25),
    'anthropic/claude-opus-4-6': claude(5, 25),
    'anthropic/claude-opus-4-5': claude(5, 25),
    'anthropic/claude-sonnet-5-5': claude(2, 10, 0.05),
    'anthropic/claude-sonnet-5': claude(2, 10),
    'anthropic/claude-sonnet-4-6': claude(3, 15),
    'anthropic/claude-sonnet-4-5': claude(3, 15),
    'anthropic/claude-haiku-5-5': { tiers: [{ ...claude(0.1, 0.5), promptTokensMax: 100_000 }, claude(0.5, 2.5)] },
    'anthropic/claude-haiku-4-5': claude(1, 5),
  },
}

/** What a model that runs here costs. */
export const free: Price = { input: 0, output: 0 }

const nanoPerDollarPerToken = 1e9 / 1e6

function tiersOf(price: ModelPrice): readonly (Price & { readonly promptTokensMax?: number })[] {
  return 'tiers' in price ? price.tiers : [price]
}

/** What one attempt cost. Tokens count once each, however they are priced; money is rounded up. */
export function costOf(price: ModelPrice, usage: ModelUsage): Amounts {
  const prompt = usage.inputTokens + usage.cacheReadTokens + usage.cacheWriteTokens
  const tiers = tiersOf(price)
  const tier = tiers.find(({ promptTokensMax = Infinity }) => prompt <= promptTokensMax) ?? tiers.at(-1)!
  const dollars = usage.inputTokens * tier.input + usage.cacheReadTokens * (tier.cacheRead ?? tier.input) + usage.cacheWriteTokens * (tier.cacheWrite ?? tier.input) + usage.outputTokens * tier.output
  return { tokens: prompt + usage.outputTokens, calls: 1, nanoDollars: roundUp(dollars * nanoPerDollarPerToken) }
}

/** Most that one attempt can cost: each byte a token, each at the highest price it can have. */
export function worstCaseOf(price: ModelPrice, promptBytes: number, completionTokensMax: number): Amounts {
  const tiers = tiersOf(price)
  const input = Math.max(...tiers.map((tier) => Math.max(tier.input, tier.cacheRead ?? 0, tier.cacheWrite ?? 0)))
  const output = Math.max(...tiers.map((tier) => tier.output))
  return { tokens: promptBytes + completionTokensMax, calls: 1, nanoDollars: roundUp((promptBytes * input + completionTokensMax * output) * nanoPerDollarPerToken) }
}

/** Sums of decimal fractions fall a hair above the whole number they mean. */
function roundUp(value: number): number {
  return Math.ceil(value - 1e-6)
}

/** For people: `$0.0123`, with as many digits as it takes to see it. */
export function formatDollars(nano: number): string {
  const dollars = nano / 1e9
  return `$${dollars === 0 ? '0' : dollars < 0.01 ? dollars.toPrecision(2) : dollars.toFixed(2)}`
}
