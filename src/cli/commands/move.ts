/** `holdfast move`: everything of a namespace, from one store to another. */
import { isHoldfastError } from '../../errors.js'
import type { MoveProgress, MoveReport } from '../../runtime/move.js'
import type { Command, Given } from '../command.js'
import { bar, clockText, Drawing, fitted, isDrawable, spinnerAt, type Piece } from '../drawing.js'
import { UsageError, exitCodes, type ExitCode } from '../exit.js'
import { moveTraces } from '../move-traces.js'
import { leaseOf, mustExist, shellWord, storesAt, type Stores } from '../session.js'
import { printable, styled, type Terminal } from '../terminal.js'

export const move: Command = {
  name: 'move',
  summary: 'Moves everything that a store keeps to another one: actors, timers, effects under way, messages and traces; from a folder to Redis, back, or between two of a kind.',
  usage: '--from <dir|redis://…> --to <dir|redis://…>',
  takes: [0, 0],
  options: {
    from: { type: 'string', value: '<dir|redis://…>', help: 'where it is' },
    to: { type: 'string', value: '<dir|redis://…>', help: 'where it is to be: nothing of that namespace may be there yet' },
    cancel: { type: 'boolean', help: 'give up a move that has not ended: all stays where it was, and what has arrived is removed' },
    reopen: { type: 'boolean', help: 'the other place is lost: open this one again as it was when it left. Needs no --to' },
  },
  notes: [
    'Stop all processes that use the store first; while one shows that it lives, nothing is moved. From then on both places are closed until',
    'everything was copied and compared; then the new one opens, and whoever comes to the old one is told where it went. Killed at any moment,',
    'the same command goes on where it was. The namespace keeps its name, because the keys of external actions begin with it; a service of your',
    'own has --namespace default unless you named it. What is moved back to a place that it came from replaces what it left there.',
  ].join('\n'),
  examples: [
    ['holdfast move --from .holdfast --to redis://127.0.0.1:6379', 'from the embedded store to a server'],
    ['holdfast move --from redis://127.0.0.1:6379 --to ./data --namespace default', 'actors of a service, from Redis to a folder'],
    ['holdfast move --from .holdfast --to redis://127.0.0.1:6379 --cancel', 'after one that did not end: stay'],
    ['holdfast move --from .holdfast --reopen', 'the server is gone for good: go on from what was there before'],
  ],
  async run(given, terminal): Promise<ExitCode> {
    const { from: source, to: target } = given.strings
    if (given.strings['store'] !== undefined) throw new UsageError('holdfast move has two stores: name them with --from and --to.', 'move')
    if (given.flags['reopen']) return reopen(given, terminal)
    if (source === undefined || target === undefined) throw new UsageError(`holdfast move needs --${source === undefined ? 'from' : 'to'}.`, 'move')
    const namespace = given.strings['namespace'] ?? 'research'
    const leaseMs = leaseOf(given)
    const from = await storesAt(source, namespace, terminal.cwd, 'from')
    const to = await storesAt(target, namespace, terminal.cwd, 'to')
    await mustExist(source, terminal.cwd)
    const { cancelMove, moveNamespace } = await import('../../runtime/move.js')
    const controller = new AbortController()
    const { signal } = controller
    const release = terminal.onInterrupt(() => {
      if (signal.aborted) process.exit(exitCodes.interrupted)
      controller.abort()
    })
    const { screen } = terminal
    const drawing = !given.flags['json'] && isDrawable(screen) ? new MoveDrawing(screen, terminal.color) : undefined
    let runs: number | undefined
    const options = {
      from: from.store,
      to: to.store,
      places: { from: from.place, to: to.place },
      namespace,
      signal,
      onProgress: (progress: MoveProgress) => drawing?.show(progress),
      beside: async () => void (runs = await moveTraces(from.traces, to.traces, to.place, signal)),
      ...(leaseMs === undefined ? {} : { leaseMs }),
      ...(given.flags['unsafe'] ? { unsafe: true } : {}),
    }
    try {
      if (given.flags['cancel']) {
        await cancelMove(options)
        drawing?.stop()
        sayCancelled(given, terminal, namespace, from, to)
        return exitCodes.ok
      }
      const report = await moveNamespace(options)
      drawing?.stop()
      say(given, terminal, namespace, from, to, target, report, runs)
      return exitCodes.ok
    } catch (error) {
      drawing?.stop()
      if (!signal.aborted || (isHoldfastError(error) && error.code !== 'STOPPED')) throw error
      const what = 'Stopped. If anything was copied, both places are closed: run the same command again to go on, or with --cancel to stay.'
      if (given.flags['json']) terminal.line(JSON.stringify({ error: { code: 'STOPPED', message: what } }))
      else terminal.error(what)
      return exitCodes.interrupted
    } finally {
      drawing?.stop()
      release()
      await Promise.allSettled([from.traces.close(), to.traces.close()])
    }
  },
}

async function reopen(given: Given, terminal: Terminal): Promise<ExitCode> {
  const { from: source, to, namespace = 'research' } = given.strings
  if (source === undefined || to !== undefined || given.flags['cancel']) throw new UsageError('--reopen goes with --from alone: it is for when the other place is lost. --cancel gives up a move whose other place is there.', 'move')
  const { store, traces, place } = await storesAt(source, namespace, terminal.cwd, 'from')
  await mustExist(source, terminal.cwd)
  const { reopenMoved } = await import('../../runtime/move.js')
  await reopenMoved({ store, namespace, ...(given.flags['unsafe'] ? { unsafe: true } : {}) })
  await traces.close()
  if (given.flags['json']) terminal.line(JSON.stringify({ state: 'reopened', namespace, from: place }))
  else terminal.line(`Namespace "${namespace}" is open again at ${printable(place)}, as it was when it left. What happened elsewhere since is not known here.`)
  return exitCodes.ok
}

function sayCancelled(given: Given, terminal: Terminal, namespace: string, from: Stores, to: Stores): void {
  if (given.flags['json']) terminal.line(JSON.stringify({ state: 'cancelled', namespace, from: from.place, to: to.place }))
  else terminal.line(`Cancelled: namespace "${namespace}" stays at ${printable(from.place)}, and what had arrived at ${printable(to.place)} is removed, but for copies of traces.`)
}

function say(given: Given, terminal: Terminal, namespace: string, from: Stores, to: Stores, target: string, report: MoveReport, runs: number | undefined): void {
  const { state, counts, shards, digests, shiftMs, durability, warnings } = report
  if (given.flags['json']) {
    terminal.line(JSON.stringify({ state, namespace, from: from.place, to: to.place, shards, counts: counts ?? null, traces: runs ?? null, digests, shiftMs, durability, warnings }))
    return
  }
  const [here, there] = [printable(from.place), printable(to.place)]
  if (state === 'already') {
    terminal.line(`Namespace "${namespace}" was moved from ${here} to ${there} before. Nothing was done.`)
    return
  }
  terminal.line(`${styled(terminal, 'green', 'Moved')} namespace "${namespace}" from ${here} to ${there}.`)
  if (counts) terminal.line(`  ${some(counts.actors, 'actor')}, ${some(counts.timers, 'timer')}, ${some(counts.effects, 'effect')} under way, ${some(counts.messages, 'message')} to be handled${runs === undefined ? '' : `, traces of ${some(runs, 'run')}`}.`)
  if (digests.length > 0) terminal.line(`  Compared: ${shards === 1 ? 'the shard is' : `all ${shards} shards are`} the same at both places.`)
  if (shiftMs > 0) terminal.line(`  The clock at ${there} is ahead by ${(shiftMs / 1_000).toLocaleString('en-US')} s: timers were set later by that. Deadlines of questions under way were not.`)
  for (const warning of warnings) terminal.line(`${styled(terminal, 'yellow', 'Warning')}: ${printable(warning)}`)
  terminal.line(`Nothing starts at ${here} any more. Go on with --store ${printable(shellWord(/:\/\//.test(target) ? to.place : target))}, or redisStore and lmdbStore in code.`)
}

function some(n: number, what: string): string {
  return `${n.toLocaleString('en-US')} ${what}${n === 1 ? '' : 's'}`
}

// ── On the screen ──

const stages: Readonly<Record<MoveProgress['stage'], string>> = { waiting: 'waiting whether anybody lives', copying: 'copying', comparing: 'comparing', opening: 'opening' }

/** The lines of the moment, as {@link Drawing} wants them. */
export function moveFrame({ stage, shards, of, items, actors }: MoveProgress, { columns, color, elapsedMs, stageMs }: { readonly columns: number; readonly color: boolean; readonly elapsedMs: number; readonly stageMs: number }): string[] {
  const lines: Piece[][] = [[[`${spinnerAt(elapsedMs)} `, 'cyan'], [stages[stage], 'bold'], [`  ${clockText(elapsedMs)}`, 'dim']]]
  if (stage === 'copying' || stage === 'comparing') {
    const aSecond = stageMs >= 1_000 ? `, ${some(Math.round(items / (stageMs / 1_000)), 'thing')} a second` : ''
    lines.push([...bar(shards, of, columns), [`  ${shards} of ${some(of, 'shard')}`]], [[`  ${some(actors, 'actor')}, ${some(items, 'thing')}${aSecond}`, 'dim']])
  }
  return lines.map((pieces) => fitted(pieces, columns - 1, color))
}

class MoveDrawing extends Drawing {
  private progress: MoveProgress | undefined
  private since = 0

  show(progress: MoveProgress): void {
    if (progress.stage !== this.progress?.stage) this.since = this.elapsedMs
    this.progress = progress
  }

  protected override frame(): string[] {
    if (!this.progress) return []
    return moveFrame(this.progress, { columns: this.screen.columns, color: this.color, elapsedMs: this.elapsedMs, stageMs: this.elapsedMs - this.since })
  }
}

