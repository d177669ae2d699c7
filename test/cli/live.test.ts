/** What is drawn while a run goes on: it fits every screen, and on a real terminal's model leaves nothing behind. */
import { fc, test as propertyTest } from '@fast-check/vitest'
import { Terminal as Emulator } from '@xterm/headless'
import stringWidth from 'string-width'
import { describe, expect, test } from 'vitest'
import type { Screen } from '../../src/cli/drawing.js'
import { LiveProgress, frame, liveProgress } from '../../src/cli/live.js'
import { hasColor } from '../../src/cli/terminal.js'
import { traceLines } from '../../src/cli/views.js'
import type { RunStatus } from '../../src/mesh/run-handle.js'
import type { TraceRecord } from '../../src/mesh/trace.js'

const nothing = { tokens: 0, calls: 0, nanoDollars: 0 }

interface Agent {
  readonly id: string
  readonly machine?: string
  readonly startedAt?: number | null
  readonly endedAt?: number | null
}

function status(parts: { state?: RunStatus['state']; steps?: [id: string, state: string, question: string][]; agents?: Agent[]; spent?: Partial<typeof nothing>; ceiling?: Partial<typeof nothing> }): RunStatus {
  return {
    state: parts.state ?? 'working',
    steps: (parts.steps ?? []).map(([id, state, question]) => ({ id, origin: id, state, task: { question } })),
    members: (parts.agents ?? []).map(({ id, machine = 'researcher', startedAt = 1, endedAt = null }) => ({ id, machine, startedAt, endedAt })),
    spent: { ...nothing, ...parts.spent },
    ceiling: { tokens: Infinity, calls: Infinity, nanoDollars: Infinity, ...parts.ceiling },
  } as unknown as RunStatus
}

// oxlint-disable-next-line no-control-regex
const asWritten = (text: string): string => text.replace(/\u001b\[\d+m/g, '')

describe('a frame', () => {
  test('tells the state, how far it is, what was spent, and who is at work for how long', () => {
    const lines = frame(
      status({
        steps: [['step-1', 'done', 'Who?'], ['step-2', 'working', 'How often are keys rotated?'], ['step-3', 'unanswered', ''], ['step-4', 'checking', 'Why?']],
        agents: [{ id: 'plan', machine: 'planner', endedAt: 2 }, { id: 'step-2' }, { id: 'step-4.check', machine: 'critic' }, { id: 'step-5', startedAt: null }],
        spent: { tokens: 1_234, calls: 3, nanoDollars: 2_100_000 },
        ceiling: { tokens: 1_000_000 },
      }),
      { columns: 80, rows: 24, color: false, elapsedMs: 65_000, agentMs: { 'step-2': 4_200 } },
    )
    expect(lines).toEqual([
      '⠙ working  1:05',
      '  ████████████░░░░░░░░░░░░  2 of 4 steps',
      '  $0.0021, 1,234 of 1,000,000 tokens, 3 calls',
      '  ● researcher  step-2  0:04  How often are keys rotated?',
      '  ● critic  step-4.check  0:00  Why?',
      '  ○ 1 waits for room',
    ])
  })

  test('tells which circuit breakers are not closed, and why', () => {
    const breakers = [{ name: 'anthropic/claude-opus-5-5', state: 'open', why: '4 failures in a row' }, { name: 'researcher@1', state: 'halfOpen', why: 'a probe failed' }] as const
    const lines = frame(status({}), { columns: 80, rows: 24, color: false, elapsedMs: 0, agentMs: {}, breakers })
    expect(lines.slice(2)).toEqual(['  ⊘ anthropic/claude-opus-5-5  breaker open: 4 failures in a row', '  ⊘ researcher@1  breaker half open: a probe failed'])
  })

  const text = fc.oneof(fc.string({ maxLength: 60 }), fc.string({ unit: fc.constantFrom('a', '漢', '👩‍👩‍👧', 'é', 'e\u0301', '\u200b', '\u001b', '\t'), maxLength: 60 }))
  propertyTest.prop([
    fc.record({
      steps: fc.array(fc.tuple(text, fc.constantFrom('working', 'done', 'checking', 'unanswered'), text), { maxLength: 12 }),
      agents: fc.array(fc.record({ id: text, machine: text, startedAt: fc.constantFrom(null, 1), endedAt: fc.constantFrom(null, 2) }), { maxLength: 12 }),
      spent: fc.record({ tokens: fc.nat(), calls: fc.nat(), nanoDollars: fc.nat() }),
    }),
    fc.integer({ min: 1, max: 200 }),
    fc.integer({ min: 1, max: 40 }),
    fc.nat(),
    fc.boolean(),
  ])('is never wider nor taller than its screen, and holds no control characters but colours', (parts, columns, rows, elapsedMs, color) => {
    const lines = frame(status(parts as never), { columns, rows, color, elapsedMs, agentMs: {} })
    expect(lines.length).toBeLessThanOrEqual(Math.max(1, rows - 1))
    for (const line of lines) {
      expect(stringWidth(line)).toBeLessThan(Math.max(1, columns))
      // oxlint-disable-next-line no-control-regex
      expect(asWritten(line)).not.toMatch(/[\u0000-\u001f\u007f]/)
    }
  })
})

/** A terminal's model with a clock of its own. */
function emulator(columns: number, rows: number): { readonly screen: Screen; readonly tick: (ms: number) => void; readonly resize: (columns: number, rows: number) => void; readonly shown: () => Promise<string[]>; readonly written: () => string } {
  const model = new Emulator({ cols: columns, rows, allowProposedApi: true, convertEol: true })
  let at = 0
  let written = ''
  let onTick = (): void => {}
  let onSize = (): void => {}
  return {
    screen: {
      get columns() {
        return model.cols
      },
      get rows() {
        return model.rows
      },
      write: (text) => {
        written += text
        model.write(text)
      },
      onResize: (listener) => ((onSize = listener), () => (onSize = () => {})),
      every: (_, listener) => ((onTick = listener), () => (onTick = () => {})),
      now: () => at,
    },
    tick: (ms) => {
      at += ms
      onTick()
    },
    resize: (cols, height) => {
      model.resize(cols, height)
      onSize()
    },
    shown: async () => {
      await new Promise<void>((resolve) => model.write('', resolve))
      const lines = Array.from({ length: model.buffer.active.length }, (_, i) => model.buffer.active.getLine(i)!.translateToString(true))
      while (lines.at(-1) === '') lines.pop()
      return lines
    },
    written: () => written,
  }
}

describe('on a terminal', () => {
  const one = status({ steps: [['step-1', 'working', 'Who?']], agents: [{ id: 'step-1' }] })

  test('lines that are said stay above what is drawn, which is drawn over itself and gone at the end', async () => {
    const { screen, tick, shown, written } = emulator(60, 12)
    const live = new LiveProgress(screen, false)
    live.show(one)
    live.line('first')
    tick(1_000)
    live.line('second')
    tick(60_000)
    expect(await shown()).toEqual(['first', 'second', '⠇ working  1:01', '  ░░░░░░░░░░░░░░░░░░░░░░░░  0 of 1 step', '  $0, 0 tokens, 0 calls', '  ● researcher  step-1  1:01  Who?'])
    live.stop()
    tick(1_000)
    live.line('last')
    expect(await shown()).toEqual(['first', 'second', 'last'])
    expect(written().lastIndexOf('\u001b[?25h')).toBeGreaterThan(written().lastIndexOf('\u001b[?25l'))
  })

  test('a question is asked where it was, and it comes back behind the answer', async () => {
    const { screen, shown } = emulator(60, 12)
    const live = new LiveProgress(screen, false)
    live.show(one)
    live.pause()
    screen.write('approve? y\n')
    live.show(one)
    expect(await shown()).toEqual(['approve? y'])
    live.resume()
    expect((await shown()).slice(0, 2)).toEqual(['approve? y', '⠋ working  0:00'])
    live.stop()
  })

  propertyTest.prop([fc.array(fc.oneof(fc.record({ say: fc.string({ unit: fc.constantFrom('a', 'b', '漢'), minLength: 1, maxLength: 30 }) }), fc.record({ ms: fc.nat(5_000) }), fc.record({ agents: fc.nat(9) })), { maxLength: 20 })], { numRuns: 60 })('whatever happens, all that was said is there at the end, in order, and nothing else', async (events) => {
    const { screen, tick, shown } = emulator(40, 30)
    const live = new LiveProgress(screen, true)
    const said: string[] = []
    for (const event of events) {
      if ('say' in event) {
        live.line(event.say)
        said.push(event.say)
      } else if ('ms' in event) tick(event.ms)
      else live.show(status({ agents: Array.from({ length: event.agents }, (_, i) => ({ id: `step-${i}` })) }))
    }
    live.stop()
    // A wide line breaks where the terminal breaks it.
    expect((await shown()).join('')).toBe(said.join(''))
  })

  test('that becomes narrower, what is drawn anew covers what was broken', async () => {
    const { screen, tick, resize, shown } = emulator(60, 12)
    const live = new LiveProgress(screen, false)
    live.line('said')
    live.show(one)
    resize(24, 12)
    tick(120)
    live.stop()
    expect(await shown()).toEqual(['said'])
  })

  test('that is too small, or none, nothing is drawn', () => {
    expect(liveProgress({ color: false })).toBeUndefined()
    expect(liveProgress({ color: false, screen: emulator(10, 24).screen })).toBeUndefined()
    expect(liveProgress({ color: false, screen: emulator(80, 2).screen })).toBeUndefined()
  })
})

test('colours are off with NO_COLOR, and on where they are forced', () => {
  expect(hasColor(true, {})).toBe(true)
  expect(hasColor(false, {})).toBe(false)
  expect(hasColor(true, { TERM: 'dumb' })).toBe(false)
  expect(hasColor(true, { NO_COLOR: '1', FORCE_COLOR: '1' })).toBe(false)
  expect(hasColor(true, { NO_COLOR: '' })).toBe(true)
  expect(hasColor(false, { FORCE_COLOR: '1' })).toBe(true)
  expect(hasColor(true, { FORCE_COLOR: '0' })).toBe(false)
})

describe('a trace', () => {
  const record = (parts: object): TraceRecord =>
    ({ agent: 'researcher', version: '1', task: 'step-1.check', attempt: 'call.1', model: 'anthropic/claude-opus-4-6', startedAt: 1_000, endedAt: 1_900, latencyMs: 900, tokens: { input: 2_108, output: 470, cacheRead: 0, cacheWrite: 0 }, cost: { tokens: 1, calls: 1, nanoDollars: 21_000_000 }, reserved: nothing, confidence: { value: 0.87, source: 'rule' }, completion: 'x', accepted: true, error: null, ...parts }) as unknown as TraceRecord
  const records = [record({}), record({ startedAt: 1_900, endedAt: 2_200, latencyMs: 300, error: 'the sentence leaves out "configure", which the question is about', accepted: false }), record({ startedAt: 2_200, endedAt: null, latencyMs: null, cost: null, tokens: null, confidence: null })]

  test('is a line each where there is room, and two on a narrow screen', () => {
    expect(traceLines({ color: false }, records)[0]).toBe(`${'█'.repeat(23)}${' '.repeat(7)}   +0.0 s researcher@1   step-1.check     call.1 anthropic/claude-opus-4-6 900 ms 2108+470 tokens $0.02 ok 0.87 rule`)
    expect(traceLines({ color: false, screen: emulator(40, 24).screen }, records)).toEqual([
      '████████   +0.0 s researcher@1 step-1.c…',
      '           ok 0.87 rule call.1 anthropi…',
      '       ███ +0.9 s researcher@1 step-1.c…',
      '           refused 0.87 rule call.1 ant…',
      '           the sentence leaves out "con…',
      '         · +1.2 s researcher@1 step-1.c…',
      '           no outcome call.1 anthropic/…',
    ])
  })

  propertyTest.prop([fc.integer({ min: 20, max: 200 }), fc.boolean()])('is never wider than its screen', (columns, color) => {
    for (const line of traceLines({ color, screen: emulator(columns, 24).screen }, records)) expect(stringWidth(line)).toBeLessThanOrEqual(columns)
  })
})
