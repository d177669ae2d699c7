/** What the tests of the LMDB store write, and how they tell whether it is whole. */
import { createHash } from 'node:crypto'
import { chmodSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Commit, Lease, NewEntry, Part, Store } from '../../src/runtime/ports/store.js'
import { emptyPart } from '../../src/testing/store-contract.js'

export const later = Number.MAX_SAFE_INTEGER

export function entry(id: string, more: Partial<NewEntry> = {}): NewEntry {
  return { id, to: 'm/a', text: id, rememberUntil: later, ...more }
}

export function commitOf(lease: Lease, number: number, parts: readonly Partial<Part>[], more: Partial<Commit> = {}): Commit {
  return { lease, number, position: 0, at: 0, parts: parts.map((part) => ({ ...emptyPart('m/a'), ...part })), accepted: [], confirmed: [], delivered: [], suspects: new Map(), ...more }
}

/** @throws Error if somebody holds the shard */
export async function claim(store: Pick<Store, 'claim'>, shard = 1, id = 'node-1'): Promise<Lease> {
  const claimed = await store.claim(shard, { id })
  if (!('lease' in claimed)) throw new Error(`the shard is held by ${claimed.heldBy.node}`)
  return claimed.lease
}

/** A text of about that many characters that carries its own checksum. */
export function sealed(name: string, chars: number): string {
  const body = `${name} ${'x'.repeat(chars)}`
  return `${createHash('sha1').update(body).digest('hex')} ${body}`
}

/** Whether a text is as {@link sealed} made it. */
export function isWhole(text: string): boolean {
  const space = text.indexOf(' ')
  return createHash('sha1').update(text.slice(space + 1)).digest('hex') === text.slice(0, space)
}

const folders: string[] = []

/** A folder for one test, that every user may look into. */
export async function scratchFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-lmdb-'))
  chmodSync(folder, 0o755)
  folders.push(folder)
  return folder
}

/** For `afterEach`. */
export async function removeScratchFolders(): Promise<void> {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
}
