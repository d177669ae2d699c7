/** Whether a group that is asked for ten times what it may do harms another one. */
import { join } from 'node:path'
import { createActorSystem, supervisorMachine, type SupervisorReport } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { emit, fromPromise, sendTo, setup } from 'xstate'
import { percentile, type Figure } from './figure.js'

/** A call of 50 ms. */
const job = setup({ actors: { call: fromPromise(() => new Promise<void>((resolve) => void setTimeout(resolve, 50))) } }).createMachine({
  id: 'job',
  initial: 'calling',
  states: { calling: { invoke: { src: 'call', onDone: 'done' } }, done: { type: 'final' } },
})

/** Two groups, each with a bulkhead of its own: at most four jobs at work, at most 400 waiting. */
const desk = setup({
  types: { events: {} as { type: 'do'; group: 'one' | 'other'; id: string } | SupervisorReport, emitted: {} as { type: 'done'; id: string } },
  actors: { group: supervisorMachine },
  actions: {
    hand: sendTo(
      ({ event }) => (event as { group: string }).group,
      ({ event }) => ({ type: 'child.request' as const, child: { id: (event as { id: string }).id, machine: 'job' } }),
    ),
    tell: emit(({ event }) => ({ type: 'done' as const, id: (event as { id: string }).id })),
  },
}).createMachine({
  id: 'desk',
  invoke: [
    { id: 'one', src: 'group', input: { workingMax: 4, waitingMax: 400 } },
    { id: 'other', src: 'group', input: { workingMax: 4, waitingMax: 400 } },
  ],
  on: { do: { actions: 'hand' }, 'supervisor.ended': { actions: 'tell' }, 'supervisor.*': {} },
})

export function bulkhead(share: number): (scratch: string) => Promise<Figure> {
  return async (scratch) => {
    const figure = `bulkhead.p${share * 100}`
    const system = await createActorSystem({ store: lmdbStore(join(scratch, figure)), machines: [desk, job], freeze: false }).start()
    const actor = system.actor(desk, 'd')
    await actor.start({})
    const waiting = new Map<string, () => void>()
    actor.on('done', ({ id }) => waiting.get(id)?.())
    let count = 0
    const ask = async (group: 'one' | 'other'): Promise<number> => {
      const id = `j${count++}`
      const started = performance.now()
      const done = new Promise<void>((resolve) => waiting.set(id, resolve))
      await actor.send({ type: 'do', group, id })
      await done
      waiting.delete(id)
      return performance.now() - started
    }
    /** Two at a time, one after the other. */
    const calmly = async (): Promise<number> => {
      const each: number[] = []
      const line = async (): Promise<void> => {
        for (let i = 0; i < 20; i++) each.push(await ask('other'))
      }
      await Promise.all([line(), line()])
      return percentile(each, share)
    }
    return {
      figure,
      what: 'a call of 50 ms in a group of four, while another group is asked for 40 at once, over and over',
      unit: 'ms',
      ours: {
        name: 'beside an overload',
        run: async () => {
          let isOn = true
          const flood = Array.from({ length: 40 }, async () => {
            while (isOn) await ask('one')
          })
          const value = await calmly()
          isOn = false
          await Promise.all(flood)
          return value
        },
      },
      against: [{ name: 'alone', run: calmly, target: share === 0.5 ? '<= 1.1' : '<= 1.5' }],
      end: () => system.stop(),
    }
  }
}
