// Actors that ask each other. A question is written with the turn that asks it, so it survives a crash and is asked once;
// the answer is an outcome like that of a promise.
import { createActorSystem, fromAsk, reply } from 'holdfast'
import { MemoryStore } from 'holdfast/memory'
import { assign, setup } from 'xstate'

const shop = setup({
  types: { context: {} as { prices: Record<string, number> }, events: {} as { type: 'shop.price'; item: string } },
  actions: { answer: reply(({ context, event }) => context.prices[event.item] ?? null) },
}).createMachine({
  id: 'shop',
  context: { prices: { tea: 450, cake: 620 } },
  on: { 'shop.price': { actions: 'answer' } },
})

const basket = setup({
  types: { context: {} as { item: string; cents: number | null }, input: {} as { item: string }, output: {} as number | null },
  actors: {
    askPrice: fromAsk<number | null, { item: string }>(({ input }) => ({ to: 'shop/main', event: { type: 'shop.price', item: input.item }, deadlineMs: 5_000 })),
  },
  actions: { note: assign({ cents: (_, cents: number | null) => cents }) },
}).createMachine({
  id: 'basket',
  context: ({ input }) => ({ item: input.item, cents: null }),
  initial: 'asking',
  output: ({ context }) => context.cents,
  states: {
    asking: {
      invoke: {
        id: 'askPrice', src: 'askPrice', input: ({ context }) => ({ item: context.item }),
        onDone: { target: 'priced', actions: { type: 'note', params: ({ event }) => event.output } },
        onError: 'priced', // no answer within the deadline, or no such actor
      },
    },
    priced: { type: 'final' },
  },
})

const system = await createActorSystem({ store: new MemoryStore(), machines: [shop, basket] }).start()
const main = system.actor(shop, 'main')
console.log('tea, asked from outside:', await main.ask<number>({ type: 'shop.price', item: 'tea' }, { deadlineMs: 5_000 }))
const mine = system.actor(basket, 'mine')
await mine.start({ input: { item: 'cake' } })
console.log('cake, asked by a basket:', await mine.output())
await system.stop()
