/** Bytes that a store is given to write for one payload of 200 KB, against writing it once, and against keeping it in place wherever it is held. */
import type { ActorSystemOptions } from 'holdfast'
import { MemoryDatabase, MemoryStore } from 'holdfast/memory'
import { payloadCases, textOf, weigh, weighRun } from '../test/support/payloads.js'
import type { Figure } from './figure.js'

const payload = textOf(200_000)

const cases = {
  client: 'sent by a client, kept in the context',
  effect: 'sent by a client, kept, input of an effect',
  start: 'input of a start by a client, kept, input of an effect',
  history: 'the same, with a history',
  across: 'from a client by an actor to one of another shard, both keep it',
  list: 'kept in a list, to which ten notes are added',
  agent: 'the prompt of an agent, whose model answers at the third attempt',
} as const
export type PayloadCaseName = keyof typeof cases
export const payloadCaseNames = Object.keys(cases) as readonly PayloadCaseName[]

async function bytesOf(name: PayloadCaseName, text: string, options: Partial<ActorSystemOptions>): Promise<number> {
  const database = new MemoryDatabase()
  if (name === 'agent') return (await weighRun(text, new MemoryStore({ database }), options)).total
  const one = payloadCases.find((each) => each.name === cases[name])!
  const { written, end } = await weigh(one, text, () => new MemoryStore({ database }), options)
  await end()
  return written.total
}

export function payloadBytes(name: PayloadCaseName): () => Promise<Figure> {
  const beyondSmall = async (options: Partial<ActorSystemOptions>): Promise<number> => (await bytesOf(name, payload, options)) - (await bytesOf(name, 'x', options))
  return () =>
    Promise.resolve({
      figure: `payload.${name}`,
      what: `200 KB ${cases[name]}`,
      unit: 'B',
      ours: { name: 'holdfast', run: () => beyondSmall({}) },
      against: [
        { name: 'once', run: () => Buffer.byteLength(JSON.stringify(payload)) },
        { name: 'all in place', run: () => beyondSmall({ largeValueCharsMin: Infinity }) },
      ],
    })
}
