/**
 * Addresses, ids and keys: made and checked in this one place.
 *
 * An address is `machine/key[~child[~grandchild …]]` inside a namespace. What shares a key shares a shard, so the
 * agents of one run, whose key is the run's id, can be committed together.
 */
import { InvalidIdError } from '../errors.js'

/** `machine/key[~path]`, checked. */
export type Address = string & { readonly __brand: 'Address' }
/** A client's or the runtime's id of one message. */
export type MessageId = string

const idPattern = /^[A-Za-z0-9._:-]{1,256}$/
/** LMDB keys end at 1,978 bytes; an address is one part of such a key. */
const addressBytesMax = 1_000

/** Returns the id, or throws {@link InvalidIdError} naming `what` it is. */
export function checkId(what: string, id: unknown): string {
  if (typeof id === 'string' && idPattern.test(id)) return id
  throw new InvalidIdError(what, id, 'use 1 to 256 of A-Z a-z 0-9 . _ : -')
}

export function toAddress(machine: string, key: string): Address {
  return `${checkId('machine name', machine)}/${checkId('actor id', key)}` as Address
}

/** The address of the durable child `id` of the actor at `parent`. */
export function childAddress(parent: Address, machine: string, id: string): Address {
  return checkLength(`${checkId('machine name', machine)}/${afterSlash(parent)}~${checkId('child id', id)}`)
}

/** Parses `machine/key[~path]`, given from outside. */
export function parseAddress(text: unknown): Address {
  if (typeof text === 'string') {
    const slash = text.indexOf('/')
    if (slash > 0) {
      const parts = [text.slice(0, slash), ...text.slice(slash + 1).split('~')]
      if (parts.every((part) => idPattern.test(part))) return checkLength(text)
    }
  }
  throw new InvalidIdError('address', text, 'write machine/id, or machine/id~child')
}

function checkLength(text: string): Address {
  if (text.length <= addressBytesMax) return text as Address
  throw new InvalidIdError('address', text, `it is longer than ${addressBytesMax} bytes`)
}

export function machineOf(address: Address): string {
  return address.slice(0, address.indexOf('/'))
}

/** The part that decides the shard: the id given by the user, without child path. */
export function keyOf(address: Address): string {
  const rest = afterSlash(address)
  const tilde = rest.indexOf('~')
  return tilde === -1 ? rest : rest.slice(0, tilde)
}

/** The id of a durable child within its parent, or undefined for a top-level actor. */
export function childIdOf(address: Address): string | undefined {
  const tilde = address.lastIndexOf('~')
  return tilde === -1 ? undefined : address.slice(tilde + 1)
}

function afterSlash(address: Address): string {
  return address.slice(address.indexOf('/') + 1)
}

/** FNV-1a over the key: stable across versions and machines, because placement is stored. */
export function shardOf(address: Address, shards: number): number {
  return hash32(keyOf(address)) % shards
}

export function hash32(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    hash ^= text.charCodeAt(i)
    hash = Math.imul(hash, 0x01000193)
  }
  return hash >>> 0
}

/**
 * A number in [0, 1) that is chance to the machine that receives it and yet the same whenever the message is handled
 * again: drawn from the message's id and the namespace's incarnation, so that no recovery changes a decision.
 */
export function chanceOf(incarnation: string, messageId: MessageId): number {
  const low = hash32(`${messageId}#${incarnation}`)
  const mixed = Math.imul(low ^ (low >>> 16), 0x45d9f3b)
  return ((mixed ^ (mixed >>> 16)) >>> 0) / 4_294_967_296
}
