/** Parts of the build that are not exported, for figures of one step: the same modules that `holdfast` itself uses. */
import type * as Json from '../src/runtime/json.js'
import type * as Machines from '../src/runtime/machines.js'
import type * as Record from '../src/runtime/record.js'
import type * as StoredRecord from '../src/runtime/stored-record.js'
import type * as Tree from '../src/runtime/xstate/actor-tree.js'
import type * as Refs from '../src/runtime/xstate/refs.js'
import type * as Turns from '../src/runtime/xstate/turn.js'

const built = (path: string): Promise<unknown> => import(new URL(`../dist/runtime/${path}`, import.meta.url).href)

export const { DurableRecord } = (await built('record.js')) as typeof Record
export const { readMeta } = (await built('stored-record.js')) as typeof StoredRecord
export const { MachineRegistry } = (await built('machines.js')) as typeof Machines
export const { defaultJsonLimits } = (await built('json.js')) as typeof Json
export const { ActorTree } = (await built('xstate/actor-tree.js')) as typeof Tree
export const { Turn } = (await built('xstate/turn.js')) as typeof Turns
export const { RemoteRef } = (await built('xstate/refs.js')) as typeof Refs
