/**
 * Values are texts, stored in the narrowest form that gives them back exactly: one byte tells which. Several texts in
 * one value are put one after the other, with their lengths in front.
 */
import type { NewEntry } from '../../runtime/ports/store.js'
import { Refusal } from './keys.js'

const latin1 = 0
const utf8 = 1
/** Only for what UTF-8 cannot keep: a surrogate without its other half. */
const utf16 = 2

// In every Node that we run on, but not yet in the library that TypeScript is told of.
const { isWellFormed } = String.prototype as unknown as { isWellFormed(this: string): boolean }

export function encodeValue(text: string): Buffer {
  if (typeof text !== 'string') throw new Refusal(`a ${typeof text} stands where a text is expected`)
  const length = Buffer.byteLength(text)
  // As many bytes as characters: ASCII, which Latin-1 reads back several times faster.
  if (length === text.length) return tagged(latin1, text, length, 'latin1')
  if (isWellFormed.call(text)) return tagged(utf8, text, length, 'utf8')
  return tagged(utf16, text, text.length * 2, 'utf16le')
}

function tagged(tag: number, text: string, length: number, encoding: BufferEncoding): Buffer {
  const buffer = Buffer.allocUnsafe(length + 1)
  buffer[0] = tag
  buffer.write(text, 1, encoding)
  return buffer
}

/** `length` because LMDB reads into a buffer that it uses again and that is longer than the value. */
export function decodeValue(buffer: Buffer, length: number = buffer.length): string {
  return buffer.toString(buffer[0] === latin1 ? 'latin1' : buffer[0] === utf8 ? 'utf8' : 'utf16le', 1, length)
}

/** A time and a text. */
export function encodeTimed(at: number, text: string): string {
  return `${at} ${text}`
}

export function decodeTimed(value: string): { at: number; text: string } {
  const space = value.indexOf(' ')
  return { at: Number(value.slice(0, space)), text: value.slice(space + 1) }
}

export function encodeMessage({ id, to, text, rememberUntil, always }: NewEntry): string {
  return join(id, to, `${always ? '!' : ''}${rememberUntil ?? ''}`, text)
}

export function decodeMessage(value: string): NewEntry {
  const [id, to, until, text] = split(value) as [string, string, string, string]
  const always = until.startsWith('!')
  const rememberUntil = always ? until.slice(1) : until
  return { id, to, text, ...(rememberUntil === '' ? {} : { rememberUntil: Number(rememberUntil) }), ...(always ? { always } : {}) }
}

/** Puts texts into one that {@link split} takes apart again. */
export function join(...texts: readonly string[]): string {
  let lengths = ''
  for (let i = 0; i < texts.length - 1; i++) lengths += `${texts[i]!.length},`
  return `${lengths}|${texts.join('')}`
}

export function split(joined: string): string[] {
  let start = joined.indexOf('|') + 1
  const texts: string[] = []
  for (let at = 0; joined[at] !== '|'; ) {
    const comma = joined.indexOf(',', at)
    const length = Number(joined.slice(at, comma))
    texts.push(joined.slice(start, start + length))
    start += length
    at = comma + 1
  }
  texts.push(joined.slice(start))
  return texts
}
