/** One text for one value: what digests and comparisons of goals, actions and prompts are made over. */
import { createHash } from 'node:crypto'
import type { Goal } from '../machines/agent.machine.js'

/**
 * JSON with the keys of every object in the order of their UTF-16 units and without white space, as RFC 8785 (JCS)
 * writes it; undefined counts as absent.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((element) => canonicalJson(element ?? null)).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined)
    entries.sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonicalJson(inner)}`).join(',')}}`
  }
  return JSON.stringify(value) ?? 'null'
}

/** The first 32 hexadecimal digits of SHA-256. */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

/** A goal as every agent of its run carries it: NFC, runs of white space as one space, trimmed. */
export function canonicalGoal(text: string): Goal {
  const canonical = text.normalize('NFC').replace(/\s+/gu, ' ').trim()
  return { text: canonical, digest: digestOf(canonical) }
}

export function isIntact(goal: Goal): boolean {
  return digestOf(goal.text) === goal.digest
}
