/**
 * Reads a Markdown file line by line and gives its prose: paragraphs and list items with the line they begin on and the
 * heading they stand under. Code, tables, HTML, front matter and definitions are left out. It follows CommonMark where
 * READMEs need it and is cautious elsewhere: what might not be prose is dropped, since a lost sentence costs less
 * than a sentence made of code. One pass, no backtracking.
 */

export interface Paragraph {
  /** The raw lines, joined by line feeds, without the marks of quotes and list items. */
  readonly raw: string
  /** 1-based line of the first of them. */
  readonly line: number
  readonly kind: 'text' | 'item'
  /** The nearest heading above, raw. */
  readonly heading: string | undefined
  /** All headings that the paragraph stands under, outermost first, raw. */
  readonly headings: readonly string[]
}

export interface Blocks {
  readonly paragraphs: readonly Paragraph[]
  /** Lower-cased labels of link reference definitions. */
  readonly labels: ReadonlySet<string>
}

/** Front matter is looked for in so many lines. */
const FRONT_MATTER_MAX = 200
const HTML_BLOCK = new Set(
  ('address article aside base basefont blockquote body caption center col colgroup dd details dialog dir div dl dt fieldset figcaption figure footer ' +
    'form frame frameset h1 h2 h3 h4 h5 h6 head header hr html iframe legend li link main menu menuitem nav noframes ol optgroup option p param picture ' +
    'search section source summary table tbody td tfoot th thead title tr track ul video').split(' '),
)
const RAW_HTML = /^<(pre|script|style|textarea|svg)\b/i

/** The lines of a file: the counting that every `line` in this folder follows. */
export function linesOf(text: string): readonly string[] {
  return text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/)
}

type Skipping =
  /** A fence, until one of the same mark and at least the same length. */
  | { readonly until: 'fence'; readonly mark: string; readonly length: number }
  | { readonly until: 'text'; readonly text: string }
  | { readonly until: 'blank' }

export function blocksOf(text: string): Blocks {
  const lines = linesOf(text)
  const labels = new Set<string>()
  const paragraphs: Paragraph[] = []
  const headings: { readonly level: number; readonly text: string }[] = []
  let skipping: Skipping | undefined
  let open: { readonly kind: 'text' | 'item'; readonly line: number; readonly lines: string[] } | undefined
  let afterBlank = true
  let listIndent = 0
  let depth = 0

  const flush = (): void => {
    if (open !== undefined) {
      const path = headings.map((heading) => heading.text)
      paragraphs.push({ raw: open.lines.join('\n'), line: open.line, kind: open.kind, heading: path.at(-1), headings: path })
    }
    open = undefined
  }
  const head = (level: number, title: string): void => {
    while ((headings.at(-1)?.level ?? 0) >= level) headings.pop()
    headings.push({ level, text: title })
    listIndent = 0
  }

  for (let index = frontMatterEnd(lines); index < lines.length; index++) {
    const quoted = unquoted(lines[index] ?? '')
    const indent = indentOf(quoted.text)
    const body = quoted.text.trim()

    if (skipping !== undefined) {
      if (skipping.until === 'fence' && (isFenceEnd(body, skipping) || quoted.depth < depth)) skipping = undefined
      else if (skipping.until === 'text' && body.toLowerCase().includes(skipping.text)) skipping = undefined
      else if (skipping.until === 'blank' && body === '') skipping = undefined
      afterBlank = true
      continue
    }
    if (quoted.depth !== depth) {
      flush()
      depth = quoted.depth
      listIndent = 0
      afterBlank = true
    }
    if (body === '') {
      flush()
      afterBlank = true
      continue
    }
    const fence = fenceAt(body)
    if (fence !== undefined) {
      flush()
      skipping = { until: 'fence', ...fence }
      continue
    }
    if (open === undefined && indent >= listIndent + 4 && afterBlank) continue
    if (open === undefined && indent < listIndent) listIndent = indent

    if (/^=+$|^-+$/.test(body) && open?.kind === 'text') {
      const title = open.lines.join(' ')
      open = undefined
      head(body.startsWith('=') ? 1 : 2, title)
      continue
    }
    if (isRule(body)) {
      flush()
      continue
    }
    const atx = /^(#{1,6})(?:[ \t]+|$)/.exec(body)
    if (atx !== null) {
      flush()
      head(atx[1]?.length ?? 1, trimEndOf(body.slice(atx[0].length), '#'))
      afterBlank = true
      continue
    }
    if (isTableRow(body)) {
      // The line above the delimiter row is the table's head.
      open = undefined
      skipping = { until: 'blank' }
      continue
    }
    if (body.startsWith('<')) {
      const html = htmlAt(body, open === undefined)
      if (html !== undefined) {
        flush()
        skipping = html === 'line' ? undefined : html
        continue
      }
    }
    if (/^:::|^\{[%{]/.test(body)) {
      flush()
      continue
    }
    const label = open === undefined ? /^\[([^\]]{1,200})\]:(?:\s|$)/.exec(body)?.[1] : undefined
    if (label !== undefined) {
      if (!label.startsWith('^')) labels.add(label.trim().toLowerCase())
      continue
    }
    // A line of strong text at the beginning of a paragraph is a title in all but name.
    if (open === undefined && isStrongLine(body)) continue
    const item = /^([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/.exec(body)
    const interrupts = item !== null && (open === undefined || open.kind === 'item' || !/^\d/.test(item[0]) || /^1[.)]/.test(item[0]))
    if (item !== null && interrupts) {
      flush()
      listIndent = indent + item[0].length
      const rest = body.slice(item[0].length)
      const inner = fenceAt(rest)
      if (inner !== undefined) skipping = { until: 'fence', ...inner }
      else open = { kind: 'item', line: index + 1, lines: [rest] }
    } else if (open === undefined) {
      open = { kind: 'text', line: index + 1, lines: [body] }
    } else {
      open.lines.push(body)
    }
    afterBlank = false
  }
  flush()
  return { paragraphs, labels }
}

/** Index of the first line behind YAML or TOML front matter; 0 if there is none. */
function frontMatterEnd(lines: readonly string[]): number {
  const mark = (lines[0] ?? '').trimEnd()
  if (mark !== '---' && mark !== '+++') return 0
  const head = lines.slice(1, FRONT_MATTER_MAX)
  const end = head.findIndex((line) => line.trimEnd() === mark)
  // Two rules around a paragraph look the same; keys tell them apart.
  return end >= 0 && head.slice(0, end).some((line) => /^[\w-]+\s*[:=]/.test(line)) ? end + 2 : 0
}

function unquoted(line: string): { readonly text: string; readonly depth: number } {
  let text = line
  let depth = 0
  for (let mark = /^ {0,3}> ?/.exec(text); mark !== null && depth < 20; mark = /^ {0,3}> ?/.exec(text)) {
    text = text.slice(mark[0].length)
    depth++
  }
  return { text, depth }
}

/** Columns of white space at the beginning, a tab reaching to the next multiple of four. */
function indentOf(line: string): number {
  let column = 0
  for (const char of line) {
    if (char === '\t') column += 4 - (column % 4)
    else if (char === ' ') column++
    else break
  }
  return column
}

function fenceAt(body: string): { readonly mark: string; readonly length: number } | undefined {
  const mark = body.charAt(0)
  if (mark !== '`' && mark !== '~') return undefined
  let length = 0
  while (body.charAt(length) === mark) length++
  if (length < 3 || (mark === '`' && body.includes('`', length))) return undefined
  return { mark, length }
}

function isFenceEnd(body: string, fence: { readonly mark: string; readonly length: number }): boolean {
  return body.length >= fence.length && trimEndOf(body, fence.mark) === ''
}

/** Without trailing `mark` characters and white space; a regular expression for it would take the square of the length. */
function trimEndOf(text: string, mark: string): string {
  let end = text.length
  while (end > 0 && (text.charAt(end - 1) === mark || /\s/.test(text.charAt(end - 1)))) end--
  return text.slice(0, end)
}

function isRule(body: string): boolean {
  const mark = body.charAt(0)
  if (!'-*_'.includes(mark)) return false
  let marks = 0
  for (const char of body) {
    if (char === mark) marks++
    else if (char !== ' ' && char !== '\t') return false
  }
  return marks >= 3
}

/** `**Useful tips**` and nothing else, without a full stop. */
function isStrongLine(body: string): boolean {
  const mark = body.slice(0, 2)
  if (mark !== '**' && mark !== '__') return false
  const end = body.indexOf(mark, 2)
  return end > 2 && /^[:\s]*$/.test(body.slice(end + 2)) && !/[.!?]$/.test(body.slice(2, end))
}

/** A line that begins with a bar, or the row of dashes below a table's head. */
function isTableRow(body: string): boolean {
  if (body.startsWith('|')) return true
  return body.includes('|') && body.includes('-') && /^[|:\- \t]+$/.test(body)
}

function htmlAt(body: string, mayBeSingleTag: boolean): Skipping | 'line' | undefined {
  const lower = body.toLowerCase()
  if (lower.startsWith('<!--')) return lower.includes('-->') ? 'line' : { until: 'text', text: '-->' }
  if (lower.startsWith('<?') || lower.startsWith('<!')) return lower.includes('>') ? 'line' : { until: 'text', text: '>' }
  const raw = RAW_HTML.exec(body)?.[1]?.toLowerCase()
  if (raw !== undefined) return lower.includes(`</${raw}`) ? 'line' : { until: 'text', text: `</${raw}` }
  const name = /^<\/?([a-z][a-z0-9-]{0,30})(?=[\s/>]|$)/.exec(lower)?.[1]
  if (name === undefined) return undefined
  if (HTML_BLOCK.has(name)) return { until: 'blank' }
  // A tag alone on its line begins a block of its own, but cannot interrupt a paragraph.
  return mayBeSingleTag && body.indexOf('>') === body.length - 1 ? { until: 'blank' } : undefined
}
