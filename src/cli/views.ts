/** Runs and traces as text for people. Text from documents and models is made harmless before it is printed. */
import type { FindingRecord, RunStatus } from '../mesh/run-handle.js'
import type { TraceRecord } from '../mesh/trace.js'
import { formatDollars } from '../mesh/prices.js'
import type { Step } from '../machines/run.machine.js'
import { costLine } from './research/report.js'
import { printable, styled, type Style, type Terminal } from './terminal.js'

export const stateWords: Readonly<Record<RunStatus['state'], string>> = {
  planning: 'planning',
  working: 'working',
  synthesising: 'writing the report',
  concluding: 'concluding',
  approvalPending: 'waits for approval',
  acting: 'publishing',
  unsure: 'waits: nobody knows whether the report was published',
  cancelling: 'is being cancelled',
  done: 'done',
  failed: 'failed',
}

const stateStyles: Readonly<Partial<Record<RunStatus['state'], Style>>> = { approvalPending: 'yellow', unsure: 'yellow', done: 'green', failed: 'red' }

export function stateText(terminal: Pick<Terminal, 'color'>, state: RunStatus['state']): string {
  return styled(terminal, stateStyles[state] ?? 'cyan', stateWords[state])
}

/** What of a run was set aside, and why. */
export function setAside({ address, reason, detail }: NonNullable<RunStatus['parked']>): string {
  return `${address} was set aside (${reason}): ${printable(detail)}`
}

function timeText(at: number | null): string {
  return at === null ? '' : ` at ${new Date(at).toISOString()}`
}

export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}

function questionOf(step: Pick<Step, 'task'>): string {
  return printable((step.task as { question?: string } | null)?.question ?? JSON.stringify(step.task))
}

/** A run as a tree: its steps with the agents that worked on them, their findings and costs. */
export function runTree(terminal: Pick<Terminal, 'color'>, status: RunStatus, findings: readonly FindingRecord[]): string[] {
  const lines = [`${styled(terminal, 'bold', status.run)}  ${stateText(terminal, status.state)}`, `${printable(status.goal)}`, `${costLine(status.spent, status.overrun)}`]
  const memberLine = (id: string): string => {
    const member = status.members.find((other) => other.id === id)
    if (!member) return ''
    const time = member.startedAt === null ? 'waiting for room' : member.endedAt === null ? 'at work' : seconds(member.endedAt - member.startedAt)
    const restarts = member.restarts === 0 ? '' : `, ${member.restarts} restarts`
    return `${member.machine} ${member.outcome ?? ''} ${styled(terminal, 'dim', `(${time}, ${member.spent.calls} calls, ${member.spent.tokens} tokens${restarts})`)}`.replace(/ {2,}/g, ' ')
  }
  const branches: { readonly head: string; readonly leaves: string[] }[] = []
  if (status.members.some(({ id }) => id === 'plan')) branches.push({ head: `plan  ${memberLine('plan')}`, leaves: [] })
  for (const step of status.steps) {
    const leaves = [memberLine(step.id), ...(status.members.some(({ id }) => id === `${step.id}.check`) ? [memberLine(`${step.id}.check`)] : [])]
    for (const { finding, accepted, reasons } of findings.filter((record) => record.step === step.id)) {
      const { claim, path, line } = finding as { claim: string; path: string; line: number }
      const mark = accepted ? styled(terminal, 'green', '✓') : styled(terminal, 'red', '✗')
      leaves.push(`${mark} ${shortened(printable(claim), 100)} [${printable(path)}:${line}]${accepted ? '' : styled(terminal, 'dim', ` (${reasons.slice(0, -1).join(', ')})`)}`)
    }
    if (step.state === 'unanswered') leaves.push(styled(terminal, 'yellow', `unanswered: ${printable(step.reason ?? '')}`))
    if (status.members.some(({ id }) => id === `${step.id}.replan`)) leaves.push(`planned anew  ${memberLine(`${step.id}.replan`)}`)
    branches.push({ head: `${step.id}  ${questionOf(step)}  ${styled(terminal, step.state === 'done' ? 'green' : 'cyan', step.state)}`, leaves: leaves.filter((leaf) => leaf !== '') })
  }
  if (status.members.some(({ id }) => id === 'report')) branches.push({ head: `report  ${memberLine('report')}`, leaves: [] })
  branches.forEach(({ head, leaves }, i) => {
    const isLast = i === branches.length - 1
    lines.push(`${isLast ? '└─' : '├─'} ${head}`)
    leaves.forEach((leaf, j) => lines.push(`${isLast ? '  ' : '│ '} ${j === leaves.length - 1 ? '└─' : '├─'} ${leaf}`))
  })
  const { decision, resolution, retry } = status
  if (decision) lines.push(`${decision.approved ? 'approved' : 'rejected'} by ${printable(decision.by)}${timeText(decision.at)}${decision.note === '' ? '' : `: ${printable(decision.note)}`}`)
  if (resolution) lines.push(`${printable(resolution.by)} found out that the report ${resolution.happened ? 'had' : 'had not'} been published${timeText(resolution.at)}`)
  if (retry) lines.push(`tried again for ${printable(retry.by)}${timeText(retry.at)}`)
  if (status.parked) lines.push(styled(terminal, 'yellow', setAside(status.parked)))
  if (status.failure) lines.push(styled(terminal, 'red', `${status.failure.reason}: ${printable(status.failure.message)}`))
  return lines
}

/** Attempts as a waterfall: when each began, how long it took, and what came of it. */
export function traceLines(terminal: Pick<Terminal, 'color'>, records: readonly TraceRecord[]): string[] {
  const begin = Math.min(...records.map(({ startedAt }) => startedAt))
  const end = Math.max(...records.map(({ startedAt, endedAt }) => endedAt ?? startedAt))
  const width = 30
  const scale = width / Math.max(1, end - begin)
  return records.flatMap((record) => {
    const from = Math.min(width - 1, Math.floor((record.startedAt - begin) * scale))
    const length = Math.max(1, Math.min(width - from, Math.round((record.latencyMs ?? 0) * scale)))
    const bar = `${' '.repeat(from)}${(record.latencyMs === null ? '·' : '█').repeat(length)}`.padEnd(width)
    const outcome = record.error !== null && record.completion === null ? styled(terminal, 'red', 'failed') : record.accepted === false ? styled(terminal, 'yellow', 'refused') : record.latencyMs === null ? 'no outcome' : styled(terminal, 'green', 'ok')
    const { value = null, source } = record.confidence ?? {}
    const confidence = value === null ? '' : ` ${value.toFixed(2)} ${source}`
    const tokens = record.tokens ? `${record.tokens.input + record.tokens.cacheRead + record.tokens.cacheWrite}+${record.tokens.output} tokens` : ''
    const cost = record.cost ? formatDollars(record.cost.nanoDollars) : `${formatDollars(record.reserved.nanoDollars)} held`
    return [
      `${styled(terminal, 'cyan', bar)} ${`+${seconds(record.startedAt - begin)}`.padStart(8)} ${`${record.agent}@${record.version}`.padEnd(14)} ${record.task.padEnd(16)} ${record.attempt} ${record.model} ${record.latencyMs === null ? '' : `${record.latencyMs} ms`} ${tokens} ${cost} ${outcome}${confidence}`.trimEnd(),
      ...(record.error === null ? [] : [`${' '.repeat(width)}          ${styled(terminal, 'dim', shortened(printable(record.error), 120))}`]),
    ]
  })
}

export function shortened(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`
}
