/** A file's bytes as text: its encoding told, HTML as what it says. */
import { isHtml, textOfHtml } from './html.js'

/** `UTF-8`, or what else a file turned out to be written in. */
export type Encoding = string

export type Decoded = { readonly text: string; readonly encoding: Encoding } | { readonly reason: 'binary' | 'empty' }

/**
 * By its byte order mark, else what an HTML page says of itself, else UTF-8, else Windows-1252, of which Latin-1 is a part
 * and which any bytes can be: so what has control characters is taken to be no text.
 */
export function decodeText(path: string, bytes: Buffer): Decoded {
  const { text, encoding } = decode(bytes)
  if (isBinary(text)) return { reason: 'binary' }
  const said = isHtml(path, text) ? textOfHtml(text, path) : text
  return said.trim() === '' ? { reason: 'empty' } : { text: said, encoding }
}

function decode(bytes: Buffer): { readonly text: string; readonly encoding: Encoding } {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return { text: new TextDecoder('utf-16le').decode(bytes), encoding: 'UTF-16' }
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return { text: new TextDecoder('utf-16be').decode(bytes), encoding: 'UTF-16' }
  const utf8 = tryDecode('utf-8', bytes)
  if (utf8 !== undefined) return { text: utf8, encoding: 'UTF-8' }
  const declared = /<meta[^>]{0,200}charset\s*=\s*["']?([\w-]{1,40})|<\?xml[^>]{0,200}encoding\s*=\s*["']([\w-]{1,40})/i.exec(bytes.subarray(0, 2_048).toString('latin1'))
  const name = declared?.[1] ?? declared?.[2]
  const text = name === undefined || isWindows1252(name) ? undefined : tryDecode(name, bytes)
  if (text !== undefined) return { text, encoding: name! }
  return { text: windows1252(bytes), encoding: 'Windows-1252' }
}

/** What Windows has where Latin-1 has control characters, from 0x80 on (encoding.spec.whatwg.org); Node 20's decoder of that name reads Latin-1. */
const windowsOnly = '€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ'

function windows1252(bytes: Buffer): string {
  return bytes.toString('latin1').replace(/[\u0080-\u009f]/g, (char) => windowsOnly[char.charCodeAt(0) - 0x80]!)
}

/** By all names that a decoder takes for it. */
function isWindows1252(name: string): boolean {
  try {
    return new TextDecoder(name).encoding === 'windows-1252'
  } catch {
    return false
  }
}

/** undefined if the bytes are none of that encoding, or there is none of that name. */
function tryDecode(encoding: string, bytes: Buffer): string | undefined {
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** More than one control character in a thousand, or a NUL, that no text has. */
function isBinary(text: string): boolean {
  if (text.includes('\u0000')) return true
  // oxlint-disable-next-line no-control-regex
  const controls = text.match(/[\u0001-\u0008\u000e-\u001a\u001c-\u001f]/g)?.length ?? 0
  return controls > 0 && controls * 1_000 > text.length
}
