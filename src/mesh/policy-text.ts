/** Policies as text: read from a file, with the place of what is wrong, and described for editors. */
import { z } from 'zod'
import { ConfigError } from '../errors.js'
import { JsonTextError, parseJsonText, type Place } from './json-text.js'
import { checkPolicies, issuesIn, policySchema, type PolicyIssue, type PolicyOptions } from './policies.js'

/** Something that is wrong, and where. */
export interface PlacedIssue extends PolicyIssue, Place {}

/** Characters of a policy file, at most. */
export const policyTextMax = 1_048_576

/** What a text says, and what is wrong with it: with an issue nothing of it may be used. */
export function readPolicies(text: string, more: (policies: PolicyOptions) => readonly PolicyIssue[] = () => []): { readonly policies: PolicyOptions; readonly issues: readonly PlacedIssue[] } {
  const bad = (message: string, place: Place): ReturnType<typeof readPolicies> => ({ policies: {}, issues: [{ path: [], message, ...place }] })
  if (text.length > policyTextMax) return bad(`expected at most ${policyTextMax} characters, found ${text.length}`, { line: 1, column: 1 })
  try {
    const { value, placeOf } = parseJsonText(text)
    const wrong = issuesIn(value)
    const issues = wrong.length > 0 ? wrong : more(value as PolicyOptions)
    return { policies: issues.length === 0 ? checkPolicies(value) : {}, issues: issues.map((issue) => ({ ...issue, ...placeOf(issue.path) })).toSorted((a, b) => a.line - b.line || a.column - b.column) }
  } catch (error) {
    if (!(error instanceof JsonTextError)) throw error
    return bad(error.message, error.place)
  }
}

/** `policies.json:4:7: models.x/m.breaker.openMs: expected …` */
export function issueLine(name: string, { path, message, line, column }: PlacedIssue): string {
  return `${name}:${line}:${column}: ${path.length === 0 ? '' : `${path.map(String).join('.')}: `}${message}`
}

const shownMax = 10

/** @throws ConfigError that names all that is wrong, each with its place */
export function policiesIn(name: string, text: string, more?: (policies: PolicyOptions) => readonly PolicyIssue[]): PolicyOptions {
  const { policies, issues } = readPolicies(text, more)
  if (issues.length === 0) return policies
  const shown = issues.slice(0, shownMax).map((issue) => issueLine(name, issue))
  throw new ConfigError(`${shown.join('\n')}${issues.length > shownMax ? `\nand ${issues.length - shownMax} more` : ''}`)
}

/** JSON Schema of a policy file, for editors. It does not say what figures mean for each other. */
export function policyFileSchema(): Record<string, unknown> {
  return { title: 'Holdfast policies', description: 'What calls to models hold to, and what they need a permit of. See docs/policies.md.', ...(z.toJSONSchema(policySchema, { io: 'input' }) as Record<string, unknown>) }
}
