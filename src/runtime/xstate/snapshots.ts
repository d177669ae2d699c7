/**
 * What snapshots of one state have in common, kept once. XState makes a list of active states, a value, a set of tags and
 * two empty objects anew for every snapshot; of an idle actor that is a good part of what it takes. None of them is changed
 * once it is made: XState copies before it changes.
 */
import { hasParallel, type XMachine, type XMachineSnapshot, type XStateNode } from './insides.js'

interface Common {
  readonly nodes: readonly XStateNode[]
  readonly value: unknown
  readonly tags: ReadonlySet<string>
}

/** By the state that is active deepest: without parallel regions all else follows from it. */
const commons = new WeakMap<XStateNode, Common>()
const noChildren: XMachineSnapshot['children'] = Object.freeze({})
const noHistory: XMachineSnapshot['historyValue'] = Object.freeze({})

function isEmpty(object: object): boolean {
  for (const _ in object) return false
  return true
}

/** Puts what others have in common with it in the place of its own. */
export function shareCommon(snapshot: XMachineSnapshot): void {
  if (snapshot.children !== noChildren && isEmpty(snapshot.children)) snapshot.children = noChildren
  if (snapshot.historyValue !== noHistory && isEmpty(snapshot.historyValue)) snapshot.historyValue = noHistory
  if (hasParallel(snapshot.machine)) return
  const leaf = snapshot._nodes.find(isLeaf)
  if (!leaf) return
  let common = commons.get(leaf)
  if (!common) commons.set(leaf, (common = { nodes: snapshot._nodes, value: snapshot.value, tags: snapshot.tags }))
  snapshot._nodes = common.nodes
  snapshot.value = common.value
  snapshot.tags = common.tags
}

const isLeaf = ({ type }: XStateNode): boolean => type === 'atomic' || type === 'final'

/** Snapshots of active machines without children and history, by machine and value; for others only the context is their own. */
const templates = new WeakMap<XMachine, Map<string, XMachineSnapshot>>()
const templatesMax = 1_000

/** By what a template is found; undefined: by nothing. */
function templateKey(value: unknown): string | undefined {
  if (typeof value !== 'string') return JSON.stringify(value)
  return value.startsWith('{') ? undefined : value
}

/** A snapshot of an active machine in a state, with nothing in it but that; by `restore`, or from an earlier one. */
export function activeSnapshot(machine: XMachine, value: unknown, restore: () => XMachineSnapshot): XMachineSnapshot {
  const key = templateKey(value)
  if (key === undefined || hasParallel(machine)) return restore()
  let known = templates.get(machine)
  if (!known) templates.set(machine, (known = new Map()))
  const template = known.get(key)
  if (template) return { ...template }
  const snapshot = restore()
  shareCommon(snapshot)
  if (known.size < templatesMax) known.set(key, { ...snapshot })
  return snapshot
}
