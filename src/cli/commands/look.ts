/** `holdfast runs`, `show` and `trace`: looking, from any process, while others run what is looked at. */
import { isHoldfastError } from '../../errors.js'
import type { RunHandle, RunStatus } from '../../mesh/run-handle.js'
import type { Command } from '../command.js'
import { exitCodes, type ExitCode } from '../exit.js'
import { reportLine, reportOf, summaryOf } from '../follow.js'
import { existingRun, openSession, type Session } from '../session.js'
import { printable, styled, type Terminal } from '../terminal.js'
import type { Given } from '../command.js'
import { runTree, setAside, shortened, stateText, traceLines } from '../views.js'

async function looking(given: Given, terminal: Terminal, look: (session: Session) => Promise<ExitCode>): Promise<ExitCode> {
  const session = await openSession(given, terminal, 'client')
  try {
    return await look(session)
  } finally {
    await session.stop()
  }
}

/** A run that this version cannot read harms the list of the others no more than it must. */
async function statusOrWhyNot(run: RunHandle): Promise<RunStatus | { readonly run: string; readonly unreadable: string } | undefined> {
  try {
    return await run.status()
  } catch (error) {
    if (!isHoldfastError(error) || error.code !== 'SNAPSHOT') throw error
    return { run: run.id, unreadable: error.message }
  }
}

export const runs: Command = {
  name: 'runs',
  summary: 'Lists the runs that are kept, with their state.',
  usage: '',
  takes: [0, 0],
  options: {},
  examples: [
    ['holdfast runs', 'those in ./.holdfast'],
    ['holdfast runs --json --store redis://127.0.0.1:6379', 'those on a Redis server, for a script'],
  ],
  run: (given, terminal) =>
    looking(given, terminal, async ({ mesh, research }) => {
      const rows = (await Promise.all((await mesh.list(research)).map(statusOrWhyNot))).filter((row) => row !== undefined)
      if (given.flags['json']) terminal.line(JSON.stringify(rows.map((row) => ('unreadable' in row ? row : summaryOf(row)))))
      else if (rows.length === 0) terminal.line('No run is kept here. Begin one with: holdfast research "<question>" <folder>')
      else
        for (const row of rows) {
          terminal.line(`${styled(terminal, 'bold', row.run.padEnd(14))} ${'unreadable' in row ? `${styled(terminal, 'red', 'cannot be read')}  ${printable(row.unreadable)}` : `${stateText(terminal, row.state)}  ${shortened(printable(row.goal), 90)}`}`)
          if ('parked' in row && row.parked) terminal.line(`${' '.repeat(15)}${styled(terminal, 'yellow', setAside(row.parked))}`)
        }
      return exitCodes.ok
    }),
}

export const show: Command = {
  name: 'show',
  summary: 'Shows a run as a tree: its steps, the agents on them, their findings, accepted and refused, and what they cost.',
  usage: '<run>',
  takes: [1, 1],
  options: { report: { type: 'boolean', help: 'print the report instead, as it is to be published' } },
  examples: [
    ['holdfast show r-1a2b3c4d', 'the tree'],
    ['holdfast show r-1a2b3c4d --report', 'what a person approves'],
  ],
  run: (given, terminal) =>
    looking(given, terminal, async (session) => {
      const { run, status } = await existingRun(session, given.positionals[0]!)
      const findings = await run.findings()
      if (given.flags['report']) {
        if (status.report === null) {
          terminal.error(`Run ${run.id} has no report yet: it is ${status.state}.`)
          return exitCodes.failed
        }
        terminal.line(given.flags['json'] ? JSON.stringify({ run: run.id, report: reportOf(status) }) : reportOf(status))
      } else if (given.flags['json']) terminal.line(JSON.stringify({ ...summaryOf(status), members: status.members, findings }))
      else {
        for (const line of runTree(terminal, status, findings)) terminal.line(line)
        if (status.state === 'done') terminal.line(reportLine(session, status))
      }
      return exitCodes.ok
    }),
}

export const trace: Command = {
  name: 'trace',
  summary: 'Shows every attempt at a model: who asked what, when, at what cost, what came back and what became of it.',
  usage: '<run>',
  takes: [1, 1],
  options: { agent: { type: 'string', value: '<name>', help: 'only of that agent' }, full: { type: 'boolean', help: 'with prompts and completions' } },
  examples: [
    ['holdfast trace r-1a2b3c4d', 'as a waterfall'],
    ['holdfast trace r-1a2b3c4d --agent critic --full', 'all that the critic was told and said'],
    ['holdfast trace r-1a2b3c4d --json', 'one record a line, with every field'],
  ],
  run: (given, terminal) =>
    looking(given, terminal, async (session) => {
      const { run } = await existingRun(session, given.positionals[0]!)
      const agent = given.strings['agent']
      const records = (await run.trace()).filter((record) => agent === undefined || record.agent === agent)
      if (given.flags['json']) for (const record of records) terminal.line(JSON.stringify(record))
      else if (records.length === 0) terminal.line(`No call is on record for run ${run.id}${agent === undefined ? '' : ` by ${agent}`}.`)
      else if (!given.flags['full']) for (const line of traceLines(terminal, records)) terminal.line(line)
      else {
        for (const record of records) {
          for (const line of traceLines(terminal, [record])) terminal.line(line)
          const { system, messages } = record.prompt as { system?: string; messages: { role: string; content: string }[] }
          for (const { role, content } of [...(system === undefined ? [] : [{ role: 'system', content: system }]), ...messages]) terminal.line(`${styled(terminal, 'bold', role)}\n${content.split('\n').map(printable).join('\n')}`)
          terminal.line(`${styled(terminal, 'bold', 'completion')}\n${(record.completion ?? '').split('\n').map(printable).join('\n')}\n`)
        }
      }
      return exitCodes.ok
    }),
}
