/** One step, one turn, one send, all in memory, against `createActor().send`. */
import { createActorSystem } from 'holdfast'
import { MemoryStore } from 'holdfast/memory'
import { createActor } from 'xstate'
import type { Address } from '../src/runtime/identity.js'
import type { DurableRecord as Record } from '../src/runtime/record.js'
import { rateOf, type Figure, type Side } from './figure.js'
import { ActorTree, DurableRecord, MachineRegistry, RemoteRef, Turn, defaultJsonLimits } from './internals.js'
import { agent, type AgentEvent } from './skeleton.js'

const actors = 1_000
const each = 200
const definition = new MachineRegistry([agent]).newest('agent')!
const order = (): string => '0000000001.000001.'
const remote = (address: string): InstanceType<typeof RemoteRef> => new RemoteRef(address)
const input = { next: 'agent/a-1' }

type Kind = 'agent.note' | 'agent.pass'

/** No two turns of an actor are given the same value. */
function eventOf(kind: Kind, i: number): AgentEvent {
  const note = `Four bits are enough for nearly all of it: ${i}`
  return kind === 'agent.note' ? { type: kind, note } : { type: kind, note, hops: 1 }
}

function forAll<T>(all: readonly T[], kind: Kind, send: (one: T, event: AgentEvent) => void): () => Promise<number> {
  return rateOf(() => {
    for (let i = 0; i < each; i++) for (const one of all) send(one, eventOf(kind, i))
    return all.length * each
  })
}

function native(kind: Kind): Side & { readonly end: () => void } {
  const all = Array.from({ length: actors }, () => createActor(agent, { input }).start())
  return { name: 'createActor', run: forAll(all, kind, (actor, event) => actor.send(event)), end: () => all.forEach((actor) => actor.stop()) }
}

function trees(kind: Kind): Side {
  const all = Array.from({ length: actors }, (_, i) => {
    const tree = new ActorTree({ address: `agent/a-${i}`, sendLater: () => {}, remote }, definition.machine)
    tree.run(new Turn(1, order, false), () => tree.begin(input))
    return tree
  })
  return { name: 'a step', run: forAll(all, kind, (tree, event) => void tree.run(new Turn(1, order, false), () => tree.receive(0, event))) }
}

function records(kind: Kind): Side {
  const host = { limits: defaultJsonLimits, freeze: false, largeValueCharsMin: 16_384, sendLater: () => {}, remote }
  const all = Array.from({ length: actors }, (_, i): Record => {
    const meta = { format: 1, machine: 'agent', version: '0', hash: definition.hash, incarnation: 1, generation: 1, startedAt: 1 }
    const record = new DurableRecord(host, `agent/a-${i}` as Address, definition, meta)
    record.run({ kind: 'start', input }, 1, order, false)
    return record
  })
  return { name: 'a turn', run: forAll(all, kind, (record, event) => void record.run({ kind: 'event', cell: 0, event }, 1, order, false, () => JSON.stringify(event))) }
}

async function step(figure: string, what: string, target: string, kind: Kind, ours: (kind: Kind) => Side): Promise<Figure> {
  const raw = native(kind)
  return { figure, what, unit: 'turns/s', ours: ours(kind), against: [{ ...raw, target }], end: async () => raw.end() }
}

export const bareStep = (): Promise<Figure> => step('step.bare', 'a step of the machine, without persistence', '>= 1.0', 'agent.note', trees)
export const turnsMemory = (): Promise<Figure> => step('turns.memory', 'a turn: the step, and what it changed encoded, checked and sealed', '>= 0.7', 'agent.note', records)
export const turnsMemoryPass = (): Promise<Figure> => step('turns.memory.pass', 'the same, of a turn that also sets a timer anew and sends 200 B', '>= 0.7', 'agent.pass', records)

/** The whole way of an awaited send, with its queue, its commit and its promises. */
export async function sendMemory(): Promise<Figure> {
  const system = await createActorSystem({ store: new MemoryStore(), machines: [agent], freeze: false }).start()
  const all = Array.from({ length: actors }, (_, i) => system.actor(agent, `a-${i}`))
  await Promise.all(all.map((actor) => actor.start({ input })))
  const raw = native('agent.note')
  return {
    figure: 'send.memory',
    what: `awaited sends to ${actors} actors on the memory store, one after the other each`,
    unit: 'turns/s',
    ours: {
      name: 'await send',
      run: rateOf(async () => {
        await Promise.all(
          all.map(async (actor) => {
            for (let i = 0; i < each; i++) await actor.send(eventOf('agent.note', i))
          }),
        )
        return actors * each
      }),
    },
    against: [raw],
    end: async () => {
      raw.end()
      await system.stop()
    },
  }
}
