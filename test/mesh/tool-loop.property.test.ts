/** A model with tools under kills: the same end, and nothing external twice. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { isBalanced, type Ledger, type ToolOptions } from '../../src/index.js'
import type { Fault } from '../../src/testing/index.js'
import { tier } from '../support/extent.js'
import { answerOf, look, stage, told, type Said } from '../support/tool-stage.js'

test('killed before and after every durable write, it comes to the same end, no mail is sent twice, and every ledger balances', async () => {
  const asksFor: Said[] = [{ tools: [['look', { at: 'a' }], ['mail', { to: 'ann' }], ['fax', {}]] }, { tools: [['dear', { at: 'b' }], ['mail', { to: 'bob' }]] }, answerOf({ seen: true })]
  async function playKilled(onWrite?: (index: number) => Fault | undefined): Promise<{ readonly writes: number; readonly end: unknown; readonly kills: number; readonly sent: readonly string[]; readonly dear: number; readonly spent: number }> {
    /** The receiver's own books, which outlive us. */
    const received = new Map<string, string>()
    const sent: string[] = []
    let dear = 0
    const mail: ToolOptions<{ to: string }> = {
      description: 'Sends a mail.',
      input: z.object({ to: z.string() }),
      cost: { usd: 0.001 },
      run: ({ input, idempotencyKey }) => {
        sent.push(`${input.to} ${idempotencyKey}`)
        received.set(idempotencyKey, `sent to ${input.to}`)
        return received.get(idempotencyKey)
      },
      reconcile: ({ idempotencyKey }) => (received.has(idempotencyKey) ? { happened: true, output: received.get(idempotencyKey) } : { happened: false }),
    }
    const { world, run, start, requests } = stage({
      tools: { look, mail, dear: { ...look, cost: { usd: 0.01 }, run: () => `dear ${Math.min(1, ++dear)}` } } as never,
      says: (results) => asksFor[results.length === 0 ? 0 : results.length === 3 ? 1 : 2]!,
      ...(onWrite ? { onWrite } : {}),
    })
    const alive = async (): Promise<void> => {
      while (!world.alive) await world.start()
    }
    for (let hour = 0; hour < 20; hour++) {
      await alive()
      void start().catch(() => {})
      await world.advance(600_000)
      await alive()
      const snapshot = await world.system.actorAt('worker/r~step-1').snapshot().catch(() => undefined)
      if (snapshot) expect(isBalanced((snapshot as unknown as { context: { ledger: Ledger } }).context.ledger)).toBe(true)
      const status = await run().status()
      if (status?.state !== 'done') continue
      const { output, state } = status.steps[0]!
      const end = { output, state, told: told(requests.at(-1)!), overrun: status.overrun }
      const spent = status.members.find(({ id }) => id === 'step-1')!.spent!.nanoDollars
      await world.stop()
      return { writes: world.writes, end, kills: world.generation - 1, sent, dear, spent }
    }
    throw new Error('it does not end')
  }
  const undisturbed = await playKilled()
  expect(undisturbed).toMatchObject({ end: { state: 'done', output: { seen: true }, told: ['look page a', 'mail sent to ann', expect.stringMatching(/^fax! not-allowed/), 'dear dear 1', 'mail sent to bob'], overrun: { nanoDollars: 0 } }, sent: ['ann default/r/step-1/tool:mail', 'bob default/r/step-1/tool:mail/2'], dear: 1 })
  let killed = 0
  // Of two writes next to each other, in the first tier one is killed before and one after.
  for (let index = 0; index < undisturbed.writes; index++) {
    for (const side of tier === 'second' ? (['kill-before', 'kill-after'] as const) : [index % 2 === 0 ? ('kill-before' as const) : ('kill-after' as const)]) {
      const { end, kills, sent, dear, spent } = await playKilled((at) => (at === index ? side : undefined))
      expect(end, `${side} write ${index}`).toEqual(undisturbed.end)
      expect(sent, `${side} write ${index}`).toEqual(undisturbed.sent)
      // What a crash cut off is paid, whether it was begun again or not.
      expect(spent, `${side} write ${index}`).toBeGreaterThanOrEqual(undisturbed.spent + (dear - 1) * 10_000_000)
      killed += kills
    }
  }
  console.log(`tools: ${undisturbed.writes} writes, ${killed} kills`)
  expect(killed).toBeGreaterThanOrEqual(undisturbed.writes / 2)
})

test.each([
  ['that costs something is paid for each time that it was begun', { usd: 0.01 }, 2],
  ['that costs nothing is begun again', {}, 1],
])('a repeatable tool that a crash cut off, %s', async (_, cost, paid) => {
  let runs = 0
  const { world, run, start, requests } = stage({
    tools: { look: { ...look, cost, deadlineMs: 86_400_000, run: () => (++runs === 1 ? new Promise(() => {}) : 'seen') } } as never,
    says: (results) => (results.length === 0 ? { tools: [['look', { at: 'a' }]] } : answerOf({})),
  })
  await world.start()
  await start()
  await world.advance(60_000)
  expect(runs).toBe(1)
  world.crash()
  await world.start()
  await world.advance(60_000)
  const status = (await run().status())!
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  expect(runs).toBe(2)
  expect(told(requests[1]!)).toEqual(['look seen'])
  expect(status.members.find(({ id }) => id === 'step-1')!.spent!.nanoDollars).toBe(2 * 15_000 + (paid === 2 ? 20_000_000 : 0))
  await world.stop()
})
