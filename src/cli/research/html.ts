/**
 * What a page of HTML says, as lines of text that stand where they stand in the file: a finding's line is one that a person
 * can look up. Headings, list items, table rows and code keep their form, in Markdown's signs; scripts, styles, navigation
 * and controls are left out. Only where a page has several blocks on one line do lines come after it that the file has not.
 */
import { Parser } from 'htmlparser2'

/** Never read. MathML is not, because without its form it says something else: half is 12. */
const noProse = new Set(['script', 'style', 'svg', 'math', 'iframe'])
/** Read only where a page says nothing beside it: what repeats on every page, what a reader fills in, and what stands in for what cannot be shown. */
const asides = new Set(['nav', 'button', 'select', 'datalist', 'textarea', 'template', 'noscript', 'object', 'canvas', 'audio', 'video'])
/** Elements that begin on a line of their own. */
const blocks = new Set(['address', 'article', 'aside', 'blockquote', 'body', 'br', 'caption', 'dd', 'details', 'dialog', 'div', 'dl', 'dt', 'fieldset', 'figcaption', 'figure', 'footer', 'form', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'header', 'hgroup', 'hr', 'legend', 'li', 'main', 'menu', 'nav', 'noscript', 'ol', 'optgroup', 'option', 'p', 'pre', 'search', 'section', 'summary', 'table', 'tbody', 'template', 'textarea', 'tfoot', 'thead', 'title', 'tr', 'ul'])

/** Whether it is HTML, by its name or by how it begins. */
export function isHtml(path: string, text: string): boolean {
  return /\.(?:html?|xhtml)$/i.test(path) || /^\s*(?:<\?xml[^>]*>\s*)?(?:<!doctype html|<html[\s>])/i.test(text.slice(0, 1_000))
}

/** Whether it is written as XML, where any element may close itself: by its name, or by how it begins. */
function isXml(path: string, html: string): boolean {
  return /\.xhtml$/i.test(path) || /^\s*<\?xml\s|<!doctype html[^>]*\bxhtml\b|<html\s[^>]*\bxmlns\s*=/i.test(html.slice(0, 1_000))
}

export function textOfHtml(html: string, path = ''): string {
  const page = read(html, { closesItself: isXml(path, html), isWhole: false })
  if (page.saysMoreThanItsTitle) return page.toString()
  // A browser shows it as empty, too, if a script that closes itself swallows it; but whoever wrote it meant to say something.
  const whole = read(html, { closesItself: true, isWhole: true })
  return (whole.saysMoreThanItsTitle ? whole : page).toString()
}

interface Reading {
  /** `<script/>` is an element of its own. To a browser that reads HTML, it is the beginning of one. */
  readonly closesItself: boolean
  /** Asides are read, too. */
  readonly isWhole: boolean
}

function read(html: string, { closesItself, isWhole }: Reading): Page {
  const page = new Page(html, isWhole)
  const parser = new Parser(
    {
      onopentag: (name) => page.open(name, parser.startIndex),
      ontext: (text) => page.text(text, parser.startIndex),
      onclosetag: (name) => page.close(name),
    },
    // Not its mode for XML, which knows no &eacute; and takes `<` in a script for an element.
    { decodeEntities: true, recognizeSelfClosing: closesItself, recognizeCDATA: closesItself },
  )
  parser.end(html)
  return page
}

class Page {
  saysMoreThanItsTitle = false
  private readonly html: string
  private readonly isWhole: boolean
  private readonly done: string[] = []
  private line = ''
  /** How far the source has been looked at, and which of its lines that is, from 0. */
  private seen = 0
  private sourceLine = 0
  /** What is left out just now, and how many elements are open in it, itself included. */
  private leftOut = ''
  private hidden = 0
  private titles = 0
  private headings = 0
  private preformatted = 0
  /** What the next text begins with, and whether it begins a line. */
  private sign = ''
  private breaks = false
  private cells = 0

  constructor(html: string, isWhole: boolean) {
    this.html = html
    this.isWhole = isWhole
  }

  open(name: string, at: number): void {
    this.count(name, 1)
    // Navigation that nobody closed.
    if (this.leftOut === 'nav' && (name === 'main' || name === 'article')) this.hidden = 0
    if (this.hidden > 0 || this.isLeftOut(name)) {
      if (this.hidden++ === 0) this.leftOut = name
      return
    }
    this.leftOut = ''
    this.reach(at)
    if (blocks.has(name)) this.breaks = true
    if (isHeading(name)) this.sign = `${'#'.repeat(Number(name[1]))} `
    else if (name === 'title') this.sign = '# '
    else if (name === 'li') this.sign = '- '
    else if (name === 'tr') this.cells = 0
    else if ((name === 'td' || name === 'th') && this.cells++ > 0) this.line += ' | '
  }

  close(name: string): void {
    this.count(name, -1)
    if (this.hidden > 0) {
      this.hidden--
      return
    }
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

  /** A button within a heading is its text: what it opens stands below. */
  private isLeftOut(name: string): boolean {
    return noProse.has(name) || (!this.isWhole && asides.has(name) && !(name === 'button' && this.headings > 0))
  }

  private count(name: string, by: 1 | -1): void {
    if (name === 'title') this.titles += by
    else if (name === 'pre') this.preformatted += by
    else if (isHeading(name) || name === 'dt' || name === 'summary') this.headings += by
  }

  private put(text: string): void {
    if (text.trim() === '') {
      if (this.line !== '' && !this.line.endsWith(' ')) this.line += text
      return
    }
    if (this.breaks && this.line.trim() !== '') this.newLine()
    this.breaks = false
    if (this.titles === 0) this.saysMoreThanItsTitle = true
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

function isHeading(name: string): boolean {
  return /^h[1-6]$/.test(name)
}
