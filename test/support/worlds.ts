import { assign, setup } from 'xstate'
import type { Logger } from '../../src/index.js'
import { World, type WorldOptions } from '../../src/testing/index.js'

/** A world with a process in it. */
export async function aWorld(options: WorldOptions): Promise<World> {
  const world = new World({ shards: 2, ...options })
  await world.start()
  return world
}

/** A logger whose lines a test can look at. */
export class RecordingLogger implements Logger {
  readonly lines: { level: string; message: string; [key: string]: unknown }[] = []
  private add(level: string) {
    return (fields: object, message: string): void => void this.lines.push({ ...fields, level, message })
  }
  readonly error = this.add('error')
  readonly warn = this.add('warn')
  readonly info = this.add('info')
  readonly debug = this.add('debug')
  readonly trace = this.add('trace')
}

/** Counts what it is sent. */
export const counter = setup({
  types: {
    context: {} as { n: number; log: string[] },
    events: {} as { type: 'add'; by: number } | { type: 'note'; text: string } | { type: 'end' } | { type: 'throw' },
    output: {} as number,
  },
  actions: {
    add: assign({ n: ({ context, event }) => context.n + (event.type === 'add' ? event.by : 0) }),
    note: assign({ log: ({ context, event }) => [...context.log, event.type === 'note' ? event.text : ''] }),
    fail: assign(() => {
      throw new Error('as asked')
    }),
  },
}).createMachine({
  id: 'counter',
  version: '1',
  context: { n: 0, log: [] },
  initial: 'counting',
  output: ({ context }) => context.n,
  states: {
    counting: { on: { add: { actions: 'add' }, note: { actions: 'note' }, end: 'over', throw: { actions: 'fail' } } },
    over: { type: 'final' },
  },
})
