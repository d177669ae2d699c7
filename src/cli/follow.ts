/**
 * Watches a run until it has ended or waits for a person, and says what happens on the way. In a terminal a person is
 * asked here; elsewhere it says how to decide.
 */
import { userInfo } from 'node:os'
import { styled, printable, type Terminal } from './terminal.js'
import type { RunHandle, RunStatus } from '../mesh/run-handle.js'
import { exitCodes, type ExitCode } from './exit.js'
import { costLine } from './research/report.js'
import type { Session } from './session.js'
import { shortened, stateText } from './views.js'

export interface FollowOptions {
  readonly json: boolean
  /** By whom the result is approved where no person can be asked; undefined: by nobody. */
  readonly unattended: string | undefined
}

/** Resolves with how it ended; with `interrupted` if the signal aborts first. */
export async function follow(session: Session, run: RunHandle, terminal: Terminal, options: FollowOptions, signal: AbortSignal): Promise<ExitCode> {
  const narrator = new Narrator(terminal, options.json)
  const interrupted = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
  const progress = run.progress()
  let last: RunStatus | undefined
  for (;;) {
    const next = await Promise.race([progress.next(), interrupted])
    if (!next) {
      terminal.line(options.json ? JSON.stringify({ run: run.id, state: last?.state ?? null, interrupted: true }) : `Stopped. The run goes on where it was with: holdfast resume ${run.id}${session.storeOption}`)
      return exitCodes.interrupted
    }
    if (next.done) break
    last = next.value
    narrator.tell(last)
    if (last.parked) return parked(session, last, terminal, options.json)
    if (last.state === 'approvalPending' && !last.decision) {
      const decided = await Promise.race([decide(run, last, terminal, options), interrupted.then(() => true)])
      if (!decided) return parked(session, last, terminal, options.json)
    }
    if (last.state === 'unsure') return parked(session, last, terminal, options.json)
  }
  return conclude(last, terminal, options.json)
}

/** Whether somebody has decided here. */
async function decide(run: RunHandle, status: RunStatus, terminal: Terminal, { unattended, json }: FollowOptions): Promise<boolean> {
  const { digest, why } = status.approval!
  if (terminal.isInteractive && !json) {
    const by = userInfo().username
    for (;;) {
      terminal.line(`${styled(terminal, 'yellow', 'Approval needed')}: ${printable(why)}.`)
      const answer = (await terminal.ask('[y] approve  [n] reject  [s] show the report  [l] later: '))?.trim().toLowerCase()
      if (answer === undefined || answer === 'l') return false
      if (answer === 's') terminal.line(reportOf(status))
      if (answer === 'y') await run.approve({ by, digest })
      if (answer === 'n') await run.reject({ by, digest, note: (await terminal.ask('Why? ')) ?? '' })
      if (answer === 'y' || answer === 'n') return true
    }
  }
  if (unattended === undefined) return false
  await run.approve({ by: unattended, digest, note: 'approved unattended, as this command was told to' })
  if (!json) terminal.line(`Approved by ${unattended}, because no person can be asked here: ${printable(why)}.`)
  return true
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
    terminal.line(`Run ${run} cannot go on by itself: ${status.parked.address} was set aside (${status.parked.reason}): ${printable(status.parked.detail)}.`)
    if (status.parked.reason === 'quarantined') terminal.line(`Find out what killed the process, then try again with: holdfast resume ${run} --redrive${session.storeOption}`)
  }
  else if (state === 'unsure') {
    terminal.line(`Whether the report was published is unknown: ${printable(status.failure?.message ?? 'the process died while it was being sent, and the receiver could not be asked')}.`)
    terminal.line(`Find out, then say so:  holdfast resolve ${run} --happened${session.storeOption}   or   holdfast resolve ${run} --not-happened${session.storeOption}`)
  } else {
    terminal.line(`Run ${run} waits for approval: ${printable(approval?.why ?? '')}.`)
    terminal.line(`  look:     holdfast show ${run} --report${session.storeOption}`)
    terminal.line(`  approve:  holdfast approve ${run}${session.storeOption}`)
    terminal.line(`  reject:   holdfast reject ${run} --note "why"${session.storeOption}`)
  }
  return exitCodes.waiting
}

function conclude(status: RunStatus | undefined, terminal: Terminal, json: boolean): ExitCode {
  if (!status) return exitCodes.failed
  if (json) terminal.line(JSON.stringify(summaryOf(status)))
  else if (status.state === 'failed') terminal.line(`${styled(terminal, 'red', 'Failed')} (${status.failure?.reason ?? 'unknown'}): ${printable(status.failure?.message ?? '')}`)
  else {
    const place = placeOf(status)
    terminal.line(`${styled(terminal, 'green', 'Done')}: ${status.steps.filter(({ state }) => state === 'done').length} answered, ${status.unanswered.length} not, ${costLine(status.spent)}.`)
    terminal.line(`Report: ${printable(place)}`)
  }
  return status.state === 'failed' ? exitCodes.failed : exitCodes.ok
}

/** Where the report is: the file, relative to where the run began, or the address. */
export function placeOf({ published }: Pick<RunStatus, 'published'>): string {
  const { file, url } = (published ?? {}) as { file?: string; url?: string }
  return file ?? url ?? ''
}

/** A run as JSON for scripts. */
export function summaryOf(status: RunStatus): object {
  const { run, state, goal, spent, approval, decision, failure, parked: setAside, unanswered } = status
  return {
    run,
    state,
    goal,
    report: placeOf(status) || null,
    steps: status.steps.map(({ id, origin, state: stepState, task, output, reason }) => ({ id, origin, state: stepState, question: (task as { question?: string }).question, findings: ((output as { findings?: unknown[] } | null)?.findings ?? []).length, reason })),
    unanswered: unanswered.length,
    spent,
    approval: approval ? { why: approval.why, digest: approval.digest } : null,
    decision,
    failure,
    parked: setAside,
  }
}

/** Says in lines what changed between two looks at a run. */
class Narrator {
  private readonly terminal: Terminal
  private readonly json: boolean
  private state: RunStatus['state'] | undefined
  private readonly told = new Map<string, string>()

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
    if (this.state === status.state) return
    this.state = status.state
    if (status.state !== 'done' && status.state !== 'failed') this.say({ state: status.state }, `${styled(this.terminal, 'bold', status.run)}  ${stateText(this.terminal, status.state)}`)
  }

  private say(event: object, text: string): void {
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
