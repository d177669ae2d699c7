import { expect, test } from 'vitest'
import type { Address } from '../../src/runtime/identity.js'
import type { Appended } from '../../src/runtime/ports/store.js'
import { WaitingLines, type Ticket } from '../../src/runtime/waiting-line.js'
import { VirtualClock } from '../../src/testing/index.js'

const to = 'm/a' as Address

/** A mailbox that has so much room. */
function aMailbox(max = 3) {
  const time = new VirtualClock()
  const lines = new WaitingLines(time, max)
  const box = { room: 0, tries: 0, accepted: [] as string[], fails: false }
  const send = (name: string, waits: boolean, ticket?: Ticket): Promise<unknown> =>
    lines
      .send(
        to,
        async () => {
          box.tries++
          if (box.fails) throw new Error('the store is away')
          if (box.room === 0) return 'full'
          box.room--
          box.accepted.push(name)
          return { seq: box.accepted.length }
        },
        waits,
        ticket,
      )
      .catch((error: unknown) => (error as Error).message)
  const pass = async (ms: number): Promise<void> => {
    for (const until = time.now() + ms; ; ) {
      for (let i = 0; i < 20; i++) await Promise.resolve()
      const next = time.nextDue()
      if (next === undefined || next > until) return time.runUntil(until)
      time.runUntil(next)
    }
  }
  return { box, send, pass }
}

test('those who wait are let in as they came, and nobody else before them', async () => {
  const { box, send, pass } = aMailbox()
  const waiting = ['a', 'b', 'c'].map((name) => send(name, true))
  await pass(1)
  box.room = 10
  // There is room, but not for him.
  expect(await send('pushy', false)).toBe('full')
  const last = send('d', true)
  await pass(600)
  expect(await last).toBe('full')
  await Promise.all(waiting)
  expect(box.accepted).toEqual(['a', 'b', 'c'])
  await send('e', false)
  expect(box.accepted).toEqual(['a', 'b', 'c', 'e'])
})

test('only the first of a line is tried, ever more seldom, and the rest with it as far as there is room', async () => {
  const { box, send, pass } = aMailbox(100)
  for (let i = 0; i < 50; i++) void send(`w${i}`, true)
  await pass(0)
  const before = box.tries
  await pass(10_000)
  expect(box.tries - before).toBeLessThan(30)
  box.room = 3
  await pass(500)
  expect(box.accepted).toEqual(['w0', 'w1', 'w2'])
})

test('who is withdrawn is told that there was no room, and is not sent; the line goes on', async () => {
  const { box, send, pass } = aMailbox()
  const ticket: Ticket = {}
  const [a, b, c] = [send('a', true), send('b', true, ticket), send('c', true)]
  await pass(1)
  expect(ticket.withdraw!()).toBe(true)
  expect(await b).toBe('full')
  expect(ticket.withdraw!()).toBe(false)
  box.room = 10
  await pass(600)
  await Promise.all([a, c])
  expect(box.accepted).toEqual(['a', 'c'])
})

test('one that is withdrawn while it is tried may be accepted, and is not tried again', async () => {
  const time = new VirtualClock()
  const lines = new WaitingLines(time, 3)
  let answer = (_: Appended): void => {}
  let tries = 0
  const ticket: Ticket = {}
  const sent = lines.send(to, () => (tries++ === 0 ? Promise.resolve('full' as const) : new Promise((resolve) => (answer = resolve))), true, ticket)
  for (let i = 0; i < 20; i++) await Promise.resolve()
  time.runUntil(20)
  expect(tries).toBe(2)
  expect(ticket.withdraw!()).toBe(false)
  answer('full')
  expect(await sent).toBe('full')
  time.runUntil(10_000)
  expect(tries).toBe(2)
})

test('what fails is told to whoever sent it, and the next one is tried', async () => {
  const { box, send, pass } = aMailbox()
  const [a, b] = [send('a', true), send('b', true)]
  await pass(1)
  box.fails = true
  await pass(30)
  expect(await Promise.all([a, b])).toEqual(['the store is away', 'the store is away'])
  box.fails = false
  box.room = 1
  await send('c', false)
  expect(box.accepted).toEqual(['c'])
})
