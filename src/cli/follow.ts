/**
 * Watches a run until it has ended or waits for a person, and says what happens on the way. In a terminal a person is
 * asked here; elsewhere it says how to decide.
 */
import { existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { Decision } from '../machines/approval.js'
import { CallsWatch } from './calls.js'
import { liveProgress, type LiveProgress } from './live.js'
import { underOwnSignal } from './own-signal.js'
import { styled, printable, type Terminal } from './terminal.js'
import type { RunHandle, RunStatus } from '../mesh/run-handle.js'
import { exitCodes, type ExitCode } from './exit.js'
import { costLine } from './research/report.js'
import type { Session } from './session.js'
import { setAside, shortened, stateText, warningText } from './views.js'

export interface FollowOptions {
  readonly json: boolean
  /** By whom the result is approved where no person can be asked; undefined: by nobody. */
  readonly unattended: string | undefined
}

/** How long nothing may happen before it is looked whether the run was set aside, ms: that is no step of the run itself. */
const quietMs = 2_000

/** Resolves with how it ended; with `interrupted` if the signal aborts first. */
export async function follow(session: Session, run: RunHandle, plain: Terminal, options: FollowOptions, signal: AbortSignal): Promise<ExitCode> {
  const live = options.json ? undefined : liveProgress(plain)
  const terminal: Terminal = live ? { ...plain, line: (text) => live.line(text), ask: (question, over) => asking(plain, live, question, over) } : plain
  const progress = run.progress()
  const narrator = new Narrator(terminal, options.json)
  const calls = new CallsWatch(session, run, terminal, (event, text) => narrator.say(event, text), (open) => live?.showBreakers(open))
  try {
    return await followOn(session, run, progress, { terminal, narrator, calls, live }, options, signal)
  } finally {
    calls.stop()
    live?.stop()
    void progress.return()
  }
}

async function asking(terminal: Terminal, live: LiveProgress, question: string, over: AbortSignal): Promise<string | undefined> {
  live.pause()
  try {
    return await terminal.ask(question, over)
  } finally {
    live.resume()
  }
}

/** Where it is told. */
interface Told {
  readonly terminal: Terminal
  readonly narrator: Narrator
  readonly calls: CallsWatch
  readonly live: LiveProgress | undefined
}

async function followOn(session: Session, run: RunHandle, progress: ReturnType<RunHandle['progress']>, { terminal, narrator, calls, live }: Told, options: FollowOptions, signal: AbortSignal): Promise<ExitCode> {
  const interrupted = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
  const ahead = (): ReturnType<typeof progress.next> => {
    const next = progress.next()
    // Whoever leaves before it comes does not hear of its failure.
    next.catch(() => {})
    return next
  }
  let coming = ahead()
  let last: RunStatus | undefined
  for (;;) {
    let timer: NodeJS.Timeout | undefined
    const next = await Promise.race([coming, interrupted, new Promise<'quiet'>((resolve) => (timer = setTimeout(resolve, quietMs, 'quiet')))]).finally(() => clearTimeout(timer))
    if (!next) {
      terminal.line(options.json ? JSON.stringify({ run: run.id, state: last?.state ?? null, interrupted: true }) : stopped(run, session))
      return exitCodes.interrupted
    }
    if (next === 'quiet') {
      const status = await run.status()
      if (status?.parked) return parked(session, status, terminal, options.json)
      continue
    }
    if (next.done) break
    coming = ahead()
    last = next.value
    live?.show(last)
    narrator.tell(last)
    if (last.parked || last.state === 'unsure') return parked(session, last, terminal, options.json)
    if (last.state === 'approvalPending' && !last.decision && !(await decide(run, last, terminal, options, coming, signal))) {
      const soFar = await calls.end(last)
      if (!options.json) for (const line of soFar) terminal.line(line)
      return parked(session, last, terminal, options.json)
    }
  }
  const summedUp = await calls.end(last)
  live?.stop()
  return conclude(session, last, terminal, options.json, summedUp)
}

function stopped(run: RunHandle, { storeOption }: Session): string {
  return `Stopped. It goes on where it was with: holdfast resume ${run.id}${storeOption}   or with the next command that runs what is in that store. To end it: holdfast cancel ${run.id}${storeOption}`
}

/**
 * Lets a person decide, or whoever was named beforehand. false: nobody did, and nobody is asked any more.
 *
 * @param coming what the run tells next: whoever decided elsewhere has answered the question
 */
async function decide(run: RunHandle, status: RunStatus, terminal: Terminal, { unattended, json }: FollowOptions, coming: Promise<unknown>, signal: AbortSignal): Promise<boolean> {
  const { digest, why } = status.approval!
  if (terminal.isInteractive && !json) return ask(run, status, terminal, coming, signal)
  if (unattended === undefined) return false
  const recorded = await run.approve({ by: unattended, digest, note: 'approved unattended, as this command was told to' })
  if (!json) terminal.line(recorded.by === unattended && recorded.approved ? `Approved by ${unattended}, because no person can be asked here: ${printable(why)}.` : alreadyDecided(run, recorded))
  return true
}

function ask(run: RunHandle, status: RunStatus, terminal: Terminal, coming: Promise<unknown>, signal: AbortSignal): Promise<boolean> {
  return underOwnSignal(signal, (over, end) => {
    void coming.then(end, end)
    return askUnder(over, run, status, terminal, signal)
  })
}

async function askUnder(over: AbortSignal, run: RunHandle, status: RunStatus, terminal: Terminal, signal: AbortSignal): Promise<boolean> {
  const { digest, why } = status.approval!
  const by = userInfo().username
  const decided = (wanted: boolean, recorded: Decision): true => {
    if (recorded.approved !== wanted || recorded.by !== by) terminal.line(alreadyDecided(run, recorded))
    return true
  }
  for (;;) {
    terminal.line(`${styled(terminal, 'yellow', 'Approval needed')}: ${printable(why)}.`)
    const answer = (await terminal.ask('[y] approve  [n] reject  [s] show the report  [l] later: ', over))?.trim().toLowerCase()
    if (answer === undefined && over.aborted) {
      const decision = signal.aborted ? undefined : (await run.status())?.decision
      if (decision) terminal.line(`${decision.approved ? 'Approved' : 'Rejected'} elsewhere, by ${printable(decision.by)}.`)
      return true
    }
    if (answer === undefined || answer === 'l') return false
    if (answer === 's') terminal.line(reportOf(status))
    if (answer === 'y') return decided(true, await run.approve({ by, digest }))
    if (answer === 'n') {
      const note = await terminal.ask('Why? ', over)
      // Ctrl-C is no decision.
      if (signal.aborted) return true
      return decided(false, await run.reject({ by, digest, note: note ?? '' }))
    }
  }
}

/** Two persons decided, and this one was not the first. */
export function alreadyDecided(run: Pick<RunHandle, 'id'>, { approved, by }: Decision): string {
  return `Run ${run.id} was already ${approved ? 'approved' : 'rejected'} by ${printable(by)}; a decision on record does not change.`
}

/** What a person approves: the text that would be published. */
export function reportOf(status: RunStatus): string {
  const input = status.approval?.actions[0]?.input as { text?: string } | undefined
  const text = input?.text ?? (status.report as { markdown?: string } | null)?.markdown ?? ''
  return text.split('\n').map(printable).join('\n')
}

function parked(session: Session, status: RunStatus, terminal: Terminal, json: boolean): ExitCode {
  const { run, state, approval } = status
  if (json) terminal.line(JSON.stringify(summaryOf(status)))
  else if (status.parked) {
    terminal.line(`Run ${run} cannot go on by itself: ${setAside(status.parked)}.`)
    if (status.parked.reason === 'quarantined') terminal.line(`Find out what ended the process, then try again with: holdfast resume ${run} --redrive${session.storeOption}`)
  }
  else if (state === 'unsure') {
    terminal.line(`Whether the report was published is unknown: ${printable(status.failure?.message ?? 'the answer was lost, or the process died before it came, and the receiver could not say')}.`)
    terminal.line(`Find out, then say so:  holdfast resolve ${run} --happened${session.storeOption}   or   holdfast resolve ${run} --not-happened${session.storeOption}`)
  } else {
    terminal.line(`Run ${run} waits for approval: ${printable(approval?.why ?? '')}.`)
    terminal.line(`  look:     holdfast show ${run} --report${session.storeOption}`)
    terminal.line(`  approve:  holdfast approve ${run}${session.storeOption}`)
    terminal.line(`  reject:   holdfast reject ${run} --note "why"${session.storeOption}`)
  }
  return exitCodes.waiting
}

function conclude(session: Pick<Session, 'storeOption'>, status: RunStatus | undefined, terminal: Terminal, json: boolean, summedUp: readonly string[]): ExitCode {
  if (!status) return exitCodes.failed
  if (!json) for (const line of summedUp) terminal.line(line)
  if (json) terminal.line(JSON.stringify(summaryOf(status)))
  else if (status.state === 'failed') {
    terminal.line(`${styled(terminal, 'red', 'Failed')} (${status.failure?.reason ?? 'unknown'}): ${printable(status.failure?.message ?? '')}`)
    if (status.mayRetry) terminal.line(`The report is approved and kept; publish it again with: holdfast retry ${status.run}${session.storeOption}`)
  }
  else {
    terminal.line(`${styled(terminal, 'green', 'Done')}: ${status.steps.filter(({ state }) => state === 'done').length} answered, ${status.unanswered.length} not, ${costLine(status.spent, status.overrun)}.`)
    terminal.line(reportLine(session, status))
  }
  return status.state === 'failed' ? exitCodes.failed : exitCodes.ok
}

/** Where the report of a run that is done is, and whether it still is. */
export function reportLine({ storeOption }: Pick<Session, 'storeOption'>, status: RunStatus): string {
  const { path, root } = placeOf(status)
  const line = `Report: ${printable(path ?? '')}`
  return root === undefined || existsSync(join(root, path!)) ? line : `${line} (it is not there any more; its text: holdfast show ${status.run} --report${storeOption})`
}

interface Place {
  /** The file, relative to where the run began, or the address. */
  readonly path: string | undefined
  /** The directory in which it began; only for a file. */
  readonly root: string | undefined
}

/** Where the report went; also if a person said that it did, and the action itself gave nothing. */
function placeOf({ state, approval }: Pick<RunStatus, 'state' | 'approval'>): Place {
  const { root, path, url } = (state === 'done' ? (approval?.actions[0]?.input ?? {}) : {}) as { root?: string; path?: string; url?: string }
  return { path: path ?? url, root }
}

/** A run as JSON for scripts. */
export function summaryOf(status: RunStatus): object {
  const { run, state, goal, ceiling, spent, overrun, warnings, approval, decision, resolution, retry, mayRetry, failure, parked: aside, unanswered } = status
  return {
    run,
    state,
    goal,
    report: placeOf(status).path ?? null,
    steps: status.steps.map(({ id, origin, state: stepState, task, output, reason }) => ({ id, origin, state: stepState, question: (task as { question?: string }).question, findings: ((output as { findings?: unknown[] } | null)?.findings ?? []).length, reason })),
    unanswered: unanswered.length,
    ceiling,
    spent,
    overrun,
    warnings,
    approval: approval ? { why: approval.why, digest: approval.digest } : null,
    decision,
    resolution,
    retry,
    mayRetry,
    failure,
    parked: aside,
  }
}

/** Says in lines what changed between two looks at a run. */
class Narrator {
  private readonly terminal: Terminal
  private readonly json: boolean
  private state: RunStatus['state'] | undefined
  private readonly told = new Map<string, string>()
  private warned = 0

  constructor(terminal: Terminal, json: boolean) {
    this.terminal = terminal
    this.json = json
  }

  tell(status: RunStatus): void {
    for (const step of status.steps) {
      if (this.told.get(step.id) === step.state) continue
      this.told.set(step.id, step.state)
      // It was told that it would be asked again, and now it is.
      if (step.state === 'unanswered' && status.steps.some((other) => other.origin === step.origin && status.steps.indexOf(other) > status.steps.indexOf(step))) continue
      const question = (step.task as { question?: string }).question ?? ''
      this.say({ step: step.id, state: step.state, question }, `  ${step.id}  ${stepText(step)}${step.state === 'working' ? `  ${styled(this.terminal, 'dim', shortened(printable(question), 100))}` : ''}`)
    }
    for (const warning of status.warnings.slice(this.warned)) this.say({ warning }, `  ${styled(this.terminal, 'yellow', 'budget')}  ${warningText(warning)}`)
    this.warned = status.warnings.length
    if (this.state === status.state) return
    this.state = status.state
    if (status.state !== 'done' && status.state !== 'failed') this.say({ state: status.state }, `${styled(this.terminal, 'bold', status.run)}  ${stateText(this.terminal, status.state)}`)
  }

  say(event: object, text: string): void {
    this.terminal.line(this.json ? JSON.stringify(event) : text)
  }
}

function stepText({ state, output, verdict, reason }: RunStatus['steps'][number]): string {
  const found = ((output as { findings?: unknown[] } | null)?.findings ?? []).length
  const refused = verdict?.refused?.length ?? 0
  const why = printable(shortened(reason ?? '', 110))
  switch (state) {
    case 'working':
      return 'reading'
    case 'checking':
      return 'found something; the critic looks at it'
    case 'failed':
      return `failed${why === '' ? '' : ` (${why})`}`
    case 'replanning':
      return `refused, asked again in other words${why === '' ? '' : ` (${why})`}`
    case 'done':
      return `${found} ${found === 1 ? 'finding stands' : 'findings stand'}${refused === 0 ? '' : `, ${refused} refused`}`
    case 'unanswered':
      return `not answered${why === '' ? '' : ` (${why})`}`
  }
}
