/** The report as it is published: the body that the writer composed, and below it what there is to know about the run. */
import type { Amounts } from '../../machines/ledger.js'
import { sum } from '../../machines/ledger.js'
import type { RunResult } from '../../mesh/define-run.js'
import { formatDollars } from '../../mesh/prices.js'
import type { Material } from './corpus.js'

/** The heading at which the body ends. */
export const aboutHeading = '## About this run'

/** Whether the text ends as {@link reportText} lets it end. */
export function isReport(text: string): boolean {
  const at = text.lastIndexOf(`\n${aboutHeading}\n`)
  return at >= 0 && /^\s*- Run: [\w.:-]{1,256}\r?\n- Model: /.test(text.slice(at + aboutHeading.length + 2))
}

export function reportText(result: RunResult): string {
  const body = (result.report as { markdown: string }).markdown.trimEnd()
  return `${body}\n\n${aboutHeading}\n\n${aboutLines(result).join('\n')}\n`
}

function aboutLines({ run, members, material }: RunResult): string[] {
  const { fileCount, skipped, skippedCount, model, isDrill = false } = material as Material
  // What stand-ins spend is part of what those spend that they stand in for.
  const own = members.filter(({ standsInFor }) => standsInFor === null)
  const spent = sum(own.map((member) => member.spent))
  const started = members.map(({ startedAt }) => startedAt ?? Infinity)
  const ended = members.map(({ endedAt }) => endedAt ?? 0)
  const elapsedMs = Math.max(0, Math.max(...ended) - Math.min(...started))
  const lines = [
    `- Run: ${run}`,
    `- Model: ${model === 'offline/extractive' ? 'none (sentences found by word statistics, checked by rules)' : model}`,
    ...(isDrill ? ['- Drill: a model that was out of order was asked first; what it answered when it was not any more, it found by word statistics'] : []),
    `- Documents: ${fileCount} read, ${skippedCount} skipped`,
    `- Time: ${(elapsedMs / 1_000).toFixed(1)} s, without the time a person took to decide`,
    `- Cost: ${costLine(spent, sum(own.map((member) => member.overrun)))}`,
    '',
    '| Agent | Task | Time | Calls | Tokens |',
    '|---|---|---|---|---|',
    ...members.map(({ machine, id, startedAt, endedAt, spent: its }) => `| ${machine} | ${id} | ${startedAt === null || endedAt === null ? '' : `${((endedAt - startedAt) / 1_000).toFixed(1)} s`} | ${its.calls} | ${its.tokens} |`),
  ]
  if (skipped.length > 0) lines.push('', 'Skipped:', '', ...skipped.map(({ path, reason }) => `- ${path.replace(/[\r\n`]/g, ' ')}: ${reason}`), ...(skippedCount > skipped.length ? [`- and ${skippedCount - skipped.length} more`] : []))
  return lines
}

/** @param overrun what is beyond what was held for the calls: nothing, unless a provider counts otherwise than it says */
export function costLine({ nanoDollars, tokens, calls }: Amounts, overrun: Amounts): string {
  const line = `${formatDollars(nanoDollars)}, ${tokens.toLocaleString('en-US')} tokens in ${calls} ${calls === 1 ? 'call' : 'calls'}`
  if (overrun.nanoDollars === 0 && overrun.tokens === 0) return line
  return `${line} and beyond what was held for them ${formatDollars(overrun.nanoDollars)} and ${overrun.tokens.toLocaleString('en-US')} tokens`
}
