/**
 * JSON as somebody wrote it: read with the place of everything in it, so that what is wrong can be pointed at. Strict
 * JSON; a name that stands twice in an object is an error, since one of the two would silently not hold.
 */

export interface Place {
  /** From 1. */
  readonly line: number
  /** From 1, in UTF-16 units. */
  readonly column: number
}

export class JsonTextError extends Error {
  readonly place: Place
  constructor(message: string, place: Place) {
    super(message)
    this.place = place
  }
}

export interface JsonText {
  readonly value: unknown
  /** Where a name or an item stands; of what is not there, the nearest that holds it. */
  placeOf(path: readonly PropertyKey[]): Place
}

const depthMax = 64

/** @throws JsonTextError for what is no JSON, says a name twice or is nested too deep */
export function parseJsonText(text: string): JsonText {
  const reader = new Reader(text)
  const value = reader.all()
  return {
    value,
    placeOf(path) {
      for (let n = path.length; ; n--) {
        const at = reader.places.get(keyOf(path.slice(0, n)))
        if (at !== undefined || n === 0) return placeIn(text, at ?? 0)
      }
    },
  }
}

const keyOf = (path: readonly PropertyKey[]): string => JSON.stringify(path.map(String))

function placeIn(text: string, offset: number): Place {
  const before = text.slice(0, offset)
  const lineStart = before.lastIndexOf('\n') + 1
  return { line: before.split('\n').length, column: offset - lineStart + 1 }
}

class Reader {
  readonly places = new Map<string, number>()
  private readonly text: string
  private at = 0

  constructor(text: string) {
    this.text = text
  }

  all(): unknown {
    if (this.text.charCodeAt(0) === 0xfeff) this.at = 1
    const value = this.value([])
    this.blank()
    if (this.at < this.text.length) this.fail('expected nothing after the value')
    return value
  }

  private fail(expected: string, at = this.at): never {
    const rest = this.text.slice(at)
    const found = /^(?:"[^"\n]{0,30}"?|[\w.+-]{1,30}|\/[/*]|.)/.exec(rest)?.[0]
    const hint = rest.startsWith('//') || rest.startsWith('/*') || rest.startsWith('#') ? ' (JSON has no comments)' : rest.startsWith("'") ? ' (texts stand in double quotes)' : ''
    throw new JsonTextError(`${expected}, found ${found === undefined ? (rest === '' ? 'the end of the text' : 'a line break') : found}${hint}`, placeIn(this.text, at))
  }

  private blank(): void {
    while (' \t\n\r'.includes(this.text[this.at] ?? '-')) this.at++
  }

  private takes(character: string): boolean {
    this.blank()
    if (this.text[this.at] !== character) return false
    this.at++
    return true
  }

  private value(path: readonly string[]): unknown {
    this.blank()
    if (!this.places.has(keyOf(path))) this.places.set(keyOf(path), this.at)
    if (path.length > depthMax) this.fail(`expected at most ${depthMax} levels`)
    const first = this.text[this.at]
    if (first === '{') return this.object(path)
    if (first === '[') return this.list(path)
    if (first === '"') return this.string()
    const [word] = /^(?:true|false|null)\b/.exec(this.text.slice(this.at, this.at + 8)) ?? []
    if (word !== undefined) {
      this.at += word.length
      return JSON.parse(word)
    }
    const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])/y
    number.lastIndex = this.at
    const found = number.exec(this.text)
    if (!found) this.fail('expected a value')
    this.at = number.lastIndex
    return Number(found![0])
  }

  private string(): string {
    // Everything from the space on, but for the quotation mark and the backslash.
    const whole = /"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
    whole.lastIndex = this.at
    const found = whole.exec(this.text)
    if (!found) this.fail('expected a text that ends on its line, with valid escapes')
    this.at = whole.lastIndex
    return JSON.parse(found![0]) as string
  }

  private object(path: readonly string[]): Record<string, unknown> {
    this.at++
    const entries = new Map<string, unknown>()
    if (this.takes('}')) return {}
    do {
      this.blank()
      if (this.text[this.at] !== '"') this.fail(this.text[this.at] === '}' ? 'expected another name after the comma' : 'expected a name in double quotes')
      const at = this.at
      const name = this.string()
      if (entries.has(name)) throw new JsonTextError(`"${name}" stands here a second time; only one of the two could hold`, placeIn(this.text, at))
      this.places.set(keyOf([...path, name]), at)
      if (!this.takes(':')) this.fail('expected ":" after the name')
      entries.set(name, this.value([...path, name]))
    } while (this.takes(','))
    if (!this.takes('}')) this.fail('expected "," or "}"')
    // Also of a name such as __proto__ an own property.
    return Object.fromEntries(entries)
  }

  private list(path: readonly string[]): unknown[] {
    this.at++
    const items: unknown[] = []
    if (this.takes(']')) return items
    do {
      this.blank()
      if (this.text[this.at] === ']') this.fail('expected another item after the comma')
      items.push(this.value([...path, String(items.length)]))
    } while (this.takes(','))
    if (!this.takes(']')) this.fail('expected "," or "]"')
    return items
  }
}
