/** Runs and traces as text for people. Text from documents and models is made harmless before it is printed. */
import type { FindingRecord, RunStatus } from '../mesh/run-handle.js'
import type { TraceRecord } from '../mesh/trace.js'
import { formatDollars } from '../mesh/prices.js'
import { unbounded, type Amounts, type BudgetWarning } from '../machines/ledger.js'
import type { Step } from '../machines/run.machine.js'
import { costLine } from './research/report.js'
import { cut, printable, styled, type Style, type Terminal } from './terminal.js'

export const stateWords: Readonly<Record<RunStatus['state'], string>> = {
  funding: 'waits for its tenant’s budget',
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

const kindTexts: Readonly<Record<keyof Amounts, (n: number) => string>> = {
  nanoDollars: formatDollars,
  tokens: (n) => `${n.toLocaleString('en-US')} tokens`,
  calls: (n) => `${n.toLocaleString('en-US')} ${n === 1 ? 'call' : 'calls'}`,
}

/** Once for each limit that the run has: what it was allotted, what of that is spent, with agents at work, and free; and what was warned of. */
export function budgetLines({ ceiling, spent, free, warnings, topUp }: Pick<RunStatus, 'ceiling' | 'spent' | 'free' | 'warnings' | 'topUp'>): string[] {
  const limited = (['nanoDollars', 'tokens', 'calls'] as const).filter((kind) => ceiling[kind] < unbounded[kind])
  return [
    ...limited.map((kind) => {
      const text = kindTexts[kind]
      return `budget: ${text(ceiling[kind])} allotted, ${text(spent[kind])} spent, ${text(Math.max(0, ceiling[kind] - spent[kind] - free[kind]))} held by agents, ${text(free[kind])} free`
    }),
    ...warnings.map(warningText),
    ...(topUp ? [topUp.decision ? `more was ${topUp.decision.approved ? 'approved' : 'refused'} by ${printable(topUp.decision.by)}` : `a person is asked for more: ${printable(topUp.request.why)}`] : []),
  ]
}

export function warningText({ kind, share, spent, of }: BudgetWarning): string {
  return `warned at ${Math.round(share * 100)} %: ${kindTexts[kind](spent)} of ${kindTexts[kind](of)} spent`
}

/** A run as a tree: its steps with the agents that worked on them, their findings and costs. */
export function runTree(terminal: Pick<Terminal, 'color'>, status: RunStatus, findings: readonly FindingRecord[]): string[] {
  const lines = [`${styled(terminal, 'bold', status.run)}  ${stateText(terminal, status.state)}`, `${printable(status.goal)}`, `${costLine(status.spent, status.overrun)}`, ...budgetLines(status)]
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
    const leaves = [memberLine(step.id), ...status.members.filter(({ standsInFor }) => standsInFor === step.id).map(({ id }) => `stood in: ${memberLine(id)}`), ...(status.members.some(({ id }) => id === `${step.id}.check`) ? [memberLine(`${step.id}.check`)] : [])]
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

/**
 * Attempts as a waterfall: when each began, how long it took, and what came of it. On a screen no line is wider than it:
 * what does not stand on one line goes on two.
 */
export function traceLines(terminal: Pick<Terminal, 'color' | 'screen'>, records: readonly TraceRecord[]): string[] {
  const columns = terminal.screen?.columns ?? Infinity
  const begin = Math.min(...records.map(({ startedAt }) => startedAt))
  const end = Math.max(...records.map(({ startedAt, endedAt }) => endedAt ?? startedAt))
  const width = Math.max(4, Math.min(30, Math.floor(columns / 4)))
  const scale = width / Math.max(1, end - begin)
  return records.flatMap((record) => {
    const from = Math.min(width - 1, Math.floor((record.startedAt - begin) * scale))
    const length = Math.max(1, Math.min(width - from, Math.round((record.latencyMs ?? 0) * scale)))
    const bar = `${' '.repeat(from)}${(record.latencyMs === null ? '·' : '█').repeat(length)}`.padEnd(width)
    const [style, outcome]: readonly [Style | undefined, string] =
      record.error !== null && record.completion === null ? ['red', 'failed'] : record.accepted === false ? ['yellow', 'refused'] : record.latencyMs === null ? [undefined, 'no outcome'] : ['green', 'ok']
    const { value = null, source } = record.confidence ?? {}
    const confidence = value === null ? '' : ` ${value.toFixed(2)} ${source}`
    const tokens = record.tokens ? `${record.tokens.input + record.tokens.cacheRead + record.tokens.cacheWrite}+${record.tokens.output} tokens` : ''
    const cost = record.cost ? formatDollars(record.cost.nanoDollars) : `${formatDollars(record.reserved.nanoDollars)} held`
    const who = `${`+${seconds(record.startedAt - begin)}`.padStart(8)} ${`${record.agent}@${record.version}`.padEnd(14)} ${record.task.padEnd(16)}`
    const what = `${record.attempt} ${record.model} ${record.latencyMs === null ? '' : `${record.latencyMs} ms`} ${tokens} ${cost}`.replace(/ {2,}/g, ' ')
    const fate = `${outcome}${confidence}`
    const coloredFate = style === undefined ? fate : `${styled(terminal, style, outcome)}${confidence}`
    const colored = styled(terminal, 'cyan', bar)
    const isOne = width + who.length + what.length + fate.length + 3 <= columns
    const room = columns - width - 1
    const lines = isOne
      ? [`${colored} ${who} ${what} ${coloredFate}`.trimEnd()]
      : [
          `${colored} ${cut(who.trim().replace(/ {2,}/g, ' '), room)}`,
          `${' '.repeat(width)} ${fate.length <= room ? coloredFate : cut(fate, room)}${styled(terminal, 'dim', cut(` ${what}`, room - Math.min(room, fate.length)))}`,
        ]
    const indent = isOne ? width + 10 : width + 1
    return [...lines, ...(record.error === null ? [] : [`${' '.repeat(indent)}${styled(terminal, 'dim', cut(shortened(printable(record.error), 120), columns - indent))}`])]
  })
}

export function shortened(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`
}
