/**
 * What leaves the process when it is inspected. Names of states, events and properties always do; they are code. Values
 * are data, and may be somebody's.
 */

/** What the value is of a property that a redaction took away. */
export const redacted = '[redacted]'

/** Told by the name alone, in lower case and without `-`, `_` and spaces; a text under it is hidden, a number is a count. */
const secretNames = /pass(?:word|wd|phrase|code)|^pwd$|secret|tokens?$|api_?key|(?:access|private|secret|signing|encryption|account)key$|authorization|^auth$|bearer|cookie|credential|connectionstring|^dsn$|^otp$|^pin$|^cvv$|^cvc$|^ssn$/
/** Whatever is under these is hidden, also if it has parts. */
const secretTrees = /^(?:passwords?|secrets?|credentials?|authorization|cookies?|setcookie|apikeys?)$/

/** Under these a number is one, too. */
const secretNumbers = /pass(?:word|wd|phrase|code)|^pwd$|secret|credential|^otp$|^pin$|^cvv$|^cvc$|^ssn$/

/** Told by how they look, wherever they stand. Each looks ahead over a bounded number of characters, but for what it then takes away. */
const secretTexts: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?/g, redacted],
  [/\b(bearer\s{1,3})[\w.~+/=-]{8,}/gi, `$1${redacted}`],
  [/\beyJ[\w-]{8,500}\.[\w-]{8,}(?:\.[\w-]*)?/g, redacted],
  [/\b(?:sk|pk|rk|whsec)[-_][\w-]{16,}/g, redacted],
  [/\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/g, redacted],
  [/\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abeoprs]-[\w-]{10,}|npm_\w{30,}|glpat-[\w-]{16,}|AIza[\w-]{30,})/g, redacted],
  [/(\b[a-z][a-z0-9+.-]{0,20}:\/\/[^\s/:@]{0,200}:)[^\s/@]{1,200}@/gi, `$1${redacted}@`],
]

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

/** As XState writes a reference to an actor. */
function isReference(value: Record<string, unknown>): boolean {
  return value['xstate$$type'] === 1
}

/** JSON without what looks like a secret, by the name it stands under or by itself. */
export function withoutSecrets(value: unknown, name = ''): unknown {
  if (typeof value === 'string') return value !== '' && secretNames.test(plainName(name)) ? redacted : withoutSecretTexts(value)
  if (typeof value === 'number') return secretNumbers.test(plainName(name)) ? redacted : value
  if (!isPlain(value)) return value
  if (name !== '' && secretTrees.test(plainName(name))) return redacted
  if (Array.isArray(value)) return value.map((element) => withoutSecrets(element, name))
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [withoutSecretTexts(key), withoutSecrets(inner, key)]))
}

function withoutSecretTexts(text: string): string {
  // Most are short and hold none.
  if (text.length < 12) return text
  return secretTexts.reduce((rest, [pattern, instead]) => rest.replace(pattern, instead), text)
}

const plainName = (name: string): string => name.toLowerCase().replace(/[-_\s]/g, '')

/** JSON with its properties and their types, and without their values. */
export function shapeOf(value: unknown): unknown {
  if (typeof value === 'string') return `[string of ${value.length}]`
  if (!isPlain(value)) return value === null || value === undefined ? value : `[${typeof value}]`
  if (Array.isArray(value)) return value.map(shapeOf)
  if (isReference(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [withoutSecretTexts(key), shapeOf(inner)]))
}
