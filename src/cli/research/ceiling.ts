/** What `--ceiling` says: amounts with their units. */
import type { Ceiling } from '../../mesh/define-run.js'
import { UsageError } from '../exit.js'
import { printable } from '../terminal.js'

const units = ['usd', 'tokens', 'calls'] as const
const usdMax = 1_000_000

/** @throws UsageError that says what is wrong, and how it is written */
export function ceilingOf(text: string | undefined): Ceiling {
  if (text === undefined) return {}
  const ceiling: { [U in (typeof units)[number]]?: number } = {}
  for (const part of text.split(',')) {
    const [, number, unit] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(part) ?? []
    const known = units.find((one) => one === unit?.toLowerCase())
    if (number === undefined || known === undefined) throw wrong(text, `"${printable(part.trim())}" is no amount with a unit of ${units.join(', ')}`)
    if (ceiling[known] !== undefined) throw wrong(text, `it says ${known} twice`)
    const value = Number(number)
    if (known === 'usd' ? value > usdMax : !Number.isSafeInteger(value)) throw wrong(text, known === 'usd' ? `${number} usd is more than ${usdMax.toLocaleString('en-US')}` : `${number} ${known} is no whole number that can be counted`)
    ceiling[known] = value
  }
  return ceiling
}

function wrong(text: string, why: string): UsageError {
  return new UsageError(`--ceiling: ${why} (in "${printable(text)}"). Write it as 2usd, as 400000tokens, as 50calls, or several of them: 2usd,400000tokens.`, 'research')
}
