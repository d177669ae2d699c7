/** `holdfast research`: begins a run, or goes on with it, and follows it to its report. */
import { randomBytes } from 'node:crypto'
import { isAbsolute, relative } from 'node:path'
import { ConfigError } from '../../errors.js'
import { checkId } from '../../runtime/identity.js'
import type { Ceiling } from '../../mesh/define-run.js'
import type { RunHandle } from '../../mesh/run-handle.js'
import type { Command, Given } from '../command.js'
import { UsageError, type ExitCode } from '../exit.js'
import { follow } from '../follow.js'
import type { Material } from '../research/corpus.js'
import { collectInputs } from '../research/inputs.js'
import { receiverProtocol } from '../research/publish.js'
import { anthropicDefault, offlineName, openSession, type Session } from '../session.js'
import type { Terminal } from '../terminal.js'
import { interruptible } from './interruptible.js'

export const research: Command = {
  name: 'research',
  summary: 'Answers a question from documents: agents plan, read, verify and write; a person approves; the report is written.',
  usage: '"<question>" [<folder or file> …]',
  takes: [1, Infinity],
  options: {
    run: { type: 'string', short: 'r', value: '<id>', help: 'id of the run; one that exists is gone on with, or shown if it has ended. Default a new one' },
    fresh: { type: 'boolean', help: 'begin anew: if the id is taken, -2, -3 … is added to it' },
    out: { type: 'string', short: 'o', value: '<file>', help: 'where the report is written. Default report-<id>.md' },
    publish: { type: 'string', value: '<url>', help: 'POST the report there with an Idempotency-Key instead of writing a file' },
    model: { type: 'string', short: 'm', value: '<name>', help: `offline, or a model of Anthropic such as ${anthropicDefault}. Default: Anthropic if ANTHROPIC_API_KEY is set, else offline` },
    'max-usd': { type: 'string', value: '<dollars>', help: 'what the run may cost' },
    'max-tokens': { type: 'string', value: '<n>', help: 'tokens that the run may use, in and out' },
    'approve-as': { type: 'string', value: '<name>', help: 'approve in that name where no person can be asked' },
  },
  notes: [
    'Folders are looked through for documents (.md, .txt, .rst …); a file that is named is read whatever it is called. Without any, the',
    'current folder is taken. Kill it at any moment and begin it again with the same --run: it goes on where it was, and nothing is done twice.',
    '',
    receiverProtocol,
  ].join('\n'),
  examples: [
    ['holdfast research "How do we rotate keys, and who may?" docs', 'reads docs/, asks for approval, writes report-<id>.md'],
    ['holdfast research "What changed in v2?" CHANGELOG.md --run v2 --out v2.md', 'under an id of your own'],
    ['holdfast research "…" docs --store redis://127.0.0.1:6379', 'the same on Redis'],
    ['holdfast research "…" docs --publish https://example.com/reports', 'sends the report instead of writing a file'],
  ],
  async run(given, terminal): Promise<ExitCode> {
    const [question, ...paths] = given.positionals
    const ceiling = ceilingOf(given)
    const session = await openSession(given, terminal, 'owner')
    return interruptible(session, terminal, async (signal) => {
      const run = await begin(session, { question: question!, paths: paths.length === 0 ? ['.'] : paths, given, ceiling, terminal })
      return follow(session, run, terminal, { json: given.flags['json']!, unattended: given.strings['approve-as'] }, signal)
    })
  },
}

interface Beginning {
  readonly question: string
  readonly paths: readonly string[]
  readonly given: Given
  readonly ceiling: Ceiling
  readonly terminal: Terminal
}

/** Starts the run, or finds it if there is one of that id with the same question. */
async function begin(session: Session, { question, paths, given, ceiling, terminal }: Beginning): Promise<RunHandle> {
  const wanted = checkId('run id', given.strings['run'] ?? newId())
  const id = given.flags['fresh'] ? await freeId(session, wanted) : wanted
  const known = session.mesh.handle(session.research, id)
  const status = await known.status()
  const say = (text: string): void => {
    if (!given.flags['json']) terminal.line(text)
  }
  if (status) {
    const asked = question.normalize('NFC').replace(/\s+/gu, ' ').trim()
    if (status.goal !== asked) throw new ConfigError(`Run ${id} asks another question: "${status.goal}". Give another --run, or --fresh.`)
    say(`Run ${id} exists and is gone on with.${session.mesh.system.role === 'client' ? ' Another process runs it; this one looks on.' : ''}`)
    return known
  }
  const inputs = await collectInputs(paths, terminal.cwd)
  const publish = given.strings['publish'] ?? null
  if (publish !== null && !(URL.canParse(publish) && /^https?:$/.test(new URL(publish).protocol))) throw new UsageError(`--publish: expected an http: or https: address, got "${publish}".`, 'research')
  const out = given.strings['out'] ?? `report-${id}.md`
  const model = modelName(given, session, terminal)
  const material: Material = { root: terminal.cwd, ...inputs, out: isAbsolute(out) ? relative(terminal.cwd, out) : out, publish, model }
  say(`Run ${id}: ${inputs.files.length} documents${inputs.skipped.length === 0 ? '' : `, ${inputs.skipped.length} skipped`}, ${model === offlineName ? 'offline model (no language model, no key)' : model}.`)
  return session.mesh.run(session.research, { id, goal: question, ceiling, models: [model], material })
}

function modelName(given: Given, session: Session, terminal: Terminal): string {
  const named = given.strings['model']
  const [first] = session.mesh.modelNames()
  if (named === undefined) return first!
  if (named === 'offline' || named === offlineName) return offlineName
  const full = named.includes('/') ? named : `anthropic/${named}`
  if (session.mesh.modelNames().includes(full)) return full
  if ((terminal.env['ANTHROPIC_API_KEY'] ?? '') === '') throw new ConfigError(`Model ${full} needs a key: set ANTHROPIC_API_KEY, or leave --model out to work offline.`)
  throw new ConfigError(`Model ${full} is not one of this process: ${session.mesh.modelNames().join(', ')}. Set HOLDFAST_MODEL=${named} to add it.`)
}

function newId(): string {
  return `r-${randomBytes(4).toString('hex')}`
}

async function freeId(session: Session, wanted: string): Promise<string> {
  for (let n = 1; ; n++) {
    const id = n === 1 ? wanted : `${wanted}-${n}`
    if (!(await session.mesh.handle(session.research, id).status())) return id
  }
}

function ceilingOf(given: Given): Ceiling {
  const number = (name: string): number | undefined => {
    const text = given.strings[name]
    if (text === undefined) return undefined
    const value = Number(text)
    if (text.trim() === '' || !Number.isFinite(value) || value < 0) throw new UsageError(`--${name}: expected a number of at least 0, got "${text}".`, 'research')
    return value
  }
  const usd = number('max-usd')
  const tokens = number('max-tokens')
  return { ...(usd === undefined ? {} : { usd }), ...(tokens === undefined ? {} : { tokens: Math.floor(tokens) }) }
}
