// A saga: what no transaction can hold is done step by step, and undone step by step if a later one fails. It is a plain chart over
// external actions: wherever the process dies, it goes on where it stood, forwards or backwards.
import { createActorSystem, external, isOutcomeUnknown, type EffectArgs } from 'holdfast'
import { MemoryStore } from 'holdfast/memory'
import { setup } from 'xstate'

const request = (what: string, refusal?: string) =>
  external({
    run: ({ input, idempotencyKey }: EffectArgs<{ guests: number }>) => {
      console.log(`${what} for ${input.guests}, key ${idempotencyKey}`)
      if (refusal !== undefined) throw new Error(refusal) // it has not happened, for certain
    },
    reconcile: () => ({ happened: false }), // a real one asks by the key
  })

const trip = setup({
  types: { context: {} as { guests: number }, input: {} as { guests: number } },
  actors: { bookFlight: request('book the flight'), bookRoom: request('book the room', 'the hotel is full'), cancelFlight: request('cancel the flight') },
}).createMachine({
  id: 'trip', context: ({ input }) => input, initial: 'bookingFlight',
  states: {
    bookingFlight: {
      invoke: {
        id: 'bookFlight', src: 'bookFlight', input: ({ context }) => context, onDone: 'bookingRoom',
        onError: [{ guard: ({ event }) => isOutcomeUnknown(event.error), target: 'unclear' }, { target: 'cancelled' }],
      },
    },
    bookingRoom: {
      invoke: {
        id: 'bookRoom', src: 'bookRoom', input: ({ context }) => context, onDone: 'booked',
        onError: [{ guard: ({ event }) => isOutcomeUnknown(event.error), target: 'unclear' }, { target: 'cancellingFlight' }],
      },
    },
    cancellingFlight: { invoke: { id: 'cancelFlight', src: 'cancelFlight', input: ({ context }) => context, onDone: 'cancelled', onError: 'unclear' } },
    unclear: {}, // a person finds out what has happened
    booked: { type: 'final' },
    cancelled: { type: 'final' },
  },
})

const system = await createActorSystem({ store: new MemoryStore(), machines: [trip] }).start()
const actor = system.actor(trip, 't-1')
await actor.start({ input: { guests: 2 } })
const end = await actor.waitFor((snapshot) => snapshot.status === 'done' || snapshot.matches('unclear'))
console.log(`the trip is ${end.value}`)
await system.stop()
