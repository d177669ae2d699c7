/**
 * What a page of HTML says, as lines of text that stand where they stand in the file: a finding's line is one that a person
 * can look up. Headings, list items, table rows and code keep their form, in Markdown's signs; scripts, styles, navigation
 * and forms are left out. Only where a page has several blocks on one line do lines come after it that the file has not.
 */
import { Parser } from 'htmlparser2'

/** Not read: what is no text, and what repeats on every page. */
const leftOut = new Set(['script', 'style', 'template', 'noscript', 'svg', 'math', 'nav', 'form', 'button', 'select', 'iframe', 'object', 'canvas', 'audio', 'video', 'head'])
/** Elements that begin on a line of their own. */
const blocks = new Set(['address', 'article', 'aside', 'blockquote', 'body', 'br', 'caption', 'dd', 'details', 'div', 'dl', 'dt', 'fieldset', 'figcaption', 'figure', 'footer', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'header', 'hr', 'li', 'main', 'ol', 'p', 'pre', 'section', 'summary', 'table', 'tbody', 'tfoot', 'thead', 'title', 'tr', 'ul'])

/** Whether it is HTML, by its name or by how it begins. */
export function isHtml(path: string, text: string): boolean {
  return /\.(?:html?|xhtml)$/i.test(path) || /^\s*(?:<!doctype html|<html[\s>])/i.test(text.slice(0, 1_000))
}

export function textOfHtml(html: string): string {
  const page = new Page(html)
  const parser = new Parser(
    {
      onopentag: (name) => page.open(name, parser.startIndex),
      ontext: (text) => page.text(text, parser.startIndex),
      onclosetag: (name) => page.close(name),
    },
    { decodeEntities: true },
  )
  parser.end(html)
  return page.toString()
}

class Page {
  private readonly html: string
  private readonly done: string[] = []
  private line = ''
  /** How far the source has been looked at, and which of its lines that is, from 0. */
  private seen = 0
  private sourceLine = 0
  /** Elements open that are left out; -1 in the title, which stands in one. */
  private hidden = 0
  private preformatted = 0
  /** What the next text begins with, and whether it begins a line. */
  private sign = ''
  private breaks = false
  private cells = 0

  constructor(html: string) {
    this.html = html
  }

  open(name: string, at: number): void {
    if (name === 'title' && this.hidden === 1) this.hidden = -1
    else if (leftOut.has(name)) {
      this.hidden++
      return
    }
    if (this.hidden > 0) return
    this.reach(at)
    if (blocks.has(name)) this.breaks = true
    if (/^h[1-6]$/.test(name)) this.sign = `${'#'.repeat(Number(name[1]))} `
    else if (name === 'title') this.sign = '# '
    else if (name === 'li') this.sign = '- '
    else if (name === 'tr') this.cells = 0
    else if ((name === 'td' || name === 'th') && this.cells++ > 0) this.line += ' | '
    else if (name === 'pre') this.preformatted++
  }

  close(name: string): void {
    if (name === 'title' && this.hidden === -1) this.hidden = 1
    else if (leftOut.has(name)) {
      if (this.hidden > 0) this.hidden--
      return
    }
    if (this.hidden > 0) return
    if (name === 'pre') this.preformatted--
    if (!blocks.has(name)) return
    this.sign = ''
    this.breaks = true
  }

  text(text: string, at: number): void {
    if (this.hidden > 0) return
    this.reach(at)
    text.split('\n').forEach((part, i) => {
      if (i > 0) this.newLine()
      this.put(this.preformatted > 0 ? part : part.replace(/[\t\f\r ]+/g, ' '))
    })
  }

  private put(text: string): void {
    if (text.trim() === '') {
      if (this.line !== '' && !this.line.endsWith(' ')) this.line += text
      return
    }
    if (this.breaks && this.line.trim() !== '') this.newLine()
    this.breaks = false
    this.line += this.line === '' && this.preformatted === 0 ? `${this.sign}${text.trimStart()}` : `${this.sign}${text}`
    this.sign = ''
  }

  private newLine(): void {
    this.done.push(this.line.trimEnd())
    this.line = ''
  }

  /** Goes down to the line on which that place of the source is. */
  private reach(at: number): void {
    for (; this.seen < at; this.seen++) if (this.html.charCodeAt(this.seen) === 10) this.sourceLine++
    while (this.done.length < this.sourceLine) this.newLine()
  }

  toString(): string {
    return [...this.done, this.line.trimEnd()].join('\n')
  }
}
