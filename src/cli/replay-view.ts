/** A replay as people read it, and what of it is hidden. */
import { shapeOf, withoutSecrets } from '../adapters/inspect/redaction.js'
import type { Replay, ReplayedTurn } from '../runtime/replay.js'
import type { Redaction } from './inspection.js'
import { printable, styled, type Terminal } from './terminal.js'

// ── What is hidden ──

/** Events, inputs, snapshots, errors and what differs, without what the redaction hides. Names of states, events and keys are code. */
export function redactedReplay(replay: Replay, redact: Redaction): Replay {
  if (redact === 'nothing') return replay
  const hidden = redact === 'secrets' ? (value: unknown) => withoutSecrets(value) : shapeOf
  const { turns, snapshot, divergence } = replay
  return {
    ...replay,
    turns: turns.map((turn) => ({
      ...turn,
      ...('payload' in turn ? { payload: redact === 'values' ? hiddenEvent(turn.payload, turn.type) : hidden(turn.payload) } : {}),
      ...(turn.failure ? { failure: { ...turn.failure, error: { name: turn.failure.error.name, message: hidden(turn.failure.error.message) as string }, event: hiddenEvent(turn.failure.event, undefined) } } : {}),
    })),
    snapshot: redact === 'values' ? shapeOfSnapshot(snapshot) : hidden(snapshot),
    ...(divergence ? { divergence: { ...divergence, differences: divergence.differences.map(({ what, ...rest }) => ({ what, ...('now' in rest ? { now: hidden(rest.now) } : {}) })) } } : {}),
  }
}

function hiddenEvent(event: unknown, type: string | undefined): unknown {
  const shape = shapeOf(event)
  const given: unknown = type ?? (event as { type?: unknown } | null | undefined)?.type
  return typeof shape === 'object' && shape !== null && typeof given === 'string' ? { ...shape, type: given } : shape
}

/** Of a snapshot, what is the chart's own. */
const ofTheChart = new Set(['status', 'value', 'tags', 'historyValue', 'systemId', 'src', 'syncSnapshot'])

function shapeOfSnapshot(snapshot: unknown): unknown {
  if (typeof snapshot !== 'object' || snapshot === null) return shapeOf(snapshot)
  return Object.fromEntries(
    Object.entries(snapshot).map(([key, value]: [string, unknown]) => {
      if (key !== 'children' || typeof value !== 'object' || value === null) return [key, ofTheChart.has(key) ? value : shapeOf(value)]
      return [key, Object.fromEntries(Object.entries(value as Record<string, { snapshot?: unknown }>).map(([id, child]) => [id, { ...child, snapshot: shapeOfSnapshot(child.snapshot) }]))]
    }),
  )
}

// ── As text ──

export interface ReplayLayout {
  /** The turn of the base; 0: there is none. */
  readonly from: number
  readonly verbose: boolean
  /** Whether the whole snapshot is shown at the end. */
  readonly whole: boolean
}

export function* replayLines(terminal: Pick<Terminal, 'color'>, replay: Replay, { from, verbose, whole }: ReplayLayout): Iterable<string> {
  const { address, version, turns, turn, status, snapshot, divergence } = replay
  yield `${styled(terminal, 'bold', address)}  version ${version}${from === 0 ? '' : styled(terminal, 'dim', `  as it stood after turn ${from}, and from there`)}`
  for (const each of turns) yield* turnLines(terminal, each, verbose)
  if (whole) yield* JSON.stringify(snapshot ?? null, undefined, 2).split('\n').map(printable)
  if (!divergence) {
    yield `It is ${status} after turn ${turn}. ${turns.length === 0 ? 'No turn was run.' : turns.length === 1 ? 'One turn was run, and came out as it did.' : `${turns.length} turns were run, and each came out as it did.`}`
    return
  }
  yield styled(terminal, 'red', `Turn ${divergence.turn} does not come out as it did:`)
  for (const { what, ...rest } of divergence.differences) yield `  ${printable(what)}${verbose && 'now' in rest ? `: ${printable(JSON.stringify(rest.now) ?? '')}` : ''}`
}

function* turnLines(terminal: Pick<Terminal, 'color'>, { turn, at, kind, type, payload, from, child, before, after, changed, acts, failure }: ReplayedTurn, verbose: boolean): Iterable<string> {
  const whose = child === undefined ? '' : kind === 'event' ? ` to ${child}` : ` of ${child}`
  const what = type === undefined ? `${kind}${whose}` : kind === 'event' ? `${type}${whose}` : `${kind}${whose}: ${type}`
  yield `${String(turn).padStart(4)}  ${styled(terminal, 'dim', new Date(at).toISOString())}  ${styled(terminal, 'cyan', printable(what))}${from === undefined ? '' : ` from ${printable(from)}`}`
  const indent = '      '
  if (verbose && payload !== undefined) yield `${indent}${printable(JSON.stringify(payload))}`
  const [was, is] = [before, after].map((value) => (value === undefined ? 'nothing' : printable(typeof value === 'string' ? value : JSON.stringify(value))))
  if (was !== is) yield `${indent}${was} → ${styled(terminal, 'bold', is!)}`
  if (changed.length > 0) yield `${indent}context: ${printable(changed.join(', '))}`
  for (const act of acts) yield `${indent}asks to ${printable(act)}`
  if (failure) yield `${indent}${styled(terminal, 'red', `fails with ${printable(failure.error.name)}`)}${verbose ? `: ${printable(failure.error.message)}` : ''}`
}
