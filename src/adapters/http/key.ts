/**
 * The `Idempotency-Key` header, as draft-ietf-httpapi-idempotency-key-header-07 and Stripe (docs.stripe.com/api/idempotent_requests)
 * have it: a string in quotes by the draft, bare at Stripe, of at most 255 characters at Stripe.
 */
import { createHash } from 'node:crypto'

export const KEY_CHARS_MAX = 255

/** The header for a key: itself, or if it is too long, its SHA-256. */
export function headerOfKey(key: string): string {
  const short = key.length <= KEY_CHARS_MAX - 2 && /^[!#-[\]-~]+$/.test(key) ? key : `sha-256:${sha256(key)}`
  return `"${short}"`
}

/** The key in a header; undefined for what is none. */
export function keyOfHeader(header: string): string | undefined {
  const [, quoted, bare] = /^\s*(?:"((?:[ !#-[\]-~]|\\["\\])*)"|([!#-+\--[\]-~]+))\s*$/.exec(header) ?? []
  const key = quoted === undefined ? bare : quoted.replace(/\\(["\\])/g, '$1')
  return key !== undefined && key !== '' && key.length <= KEY_CHARS_MAX ? key : undefined
}

export function sha256(content: string | Uint8Array, encoding: 'hex' | 'base64' = 'hex'): string {
  return createHash('sha256').update(content).digest(encoding)
}

/** RFC 9530: the digest of what is sent, so that whoever receives it knows that it is whole. */
export const contentDigest = (body: Uint8Array): string => `sha-256=:${sha256(body, 'base64')}:`
