/** `holdfast research`: begins a run, or goes on with it, and follows it to its report. */
import { randomBytes } from 'node:crypto'
import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname, isAbsolute, relative, resolve } from 'node:path'
import { ConfigError } from '../../errors.js'
import { checkId } from '../../runtime/identity.js'
import type { Ceiling } from '../../mesh/define-run.js'
import type { RunHandle } from '../../mesh/run-handle.js'
import type { Command, Given } from '../command.js'
import { UsageError, type ExitCode } from '../exit.js'
import { follow } from '../follow.js'
import { ceilingOf } from '../research/ceiling.js'
import type { Material } from '../research/corpus.js'
import { checkDrill, drillName } from '../research/drill.js'
import { collectInputs, packFiles, skippedMax, type Inputs } from '../research/inputs.js'
import { receiverProtocol } from '../research/publish.js'
import { anthropicDefault, offlineName, openSession, type Session } from '../session.js'
import { printable, type Terminal } from '../terminal.js'
import { interruptible } from './interruptible.js'

export const research: Command = {
  name: 'research',
  summary: 'Answers a question from documents: agents plan, read, verify and write; a person approves; the report is written.',
  usage: '"<question>" [<folder or file> …]',
  takes: [1, Infinity],
  options: {
    run: { type: 'string', short: 'r', value: '<id>', help: 'id of the run; one that exists is gone on with, or shown if it has ended. Default a new one' },
    fresh: { type: 'boolean', help: 'begin anew: if the id is taken, -2, -3 … is added to it' },
    out: { type: 'string', short: 'o', value: '<file>', help: 'where the report is written; a file that is there is replaced once that is approved. Default report-<id>.md' },
    publish: { type: 'string', value: '<url>', help: 'POST the report there with an Idempotency-Key instead of writing a file' },
    model: { type: 'string', short: 'm', value: '<name>', help: `offline, or a model of Anthropic such as ${anthropicDefault}. Default: Anthropic if ANTHROPIC_API_KEY is set, else offline` },
    ceiling: { type: 'string', value: '<amounts>', help: 'what the run may spend: 2usd, 400000tokens (in and out), 50calls, or several of them, 2usd,400000tokens. Default no ceiling' },
    drill: { type: 'string', value: 'outage', help: 'ask first a model that is out of order for a few seconds, which is played here, and show what the mesh does about it' },
    'approve-as': { type: 'string', value: '<name>', help: 'approve in that name where no person can be asked' },
  },
  notes: [
    'Folders are looked through for documents (.md, .txt, .rst, .html …), without hidden ones, node_modules and links to folders; a file that',
    'is named is read whatever it is called. Without any, the current folder is taken. A run reads 10,000 files of 4 MB at most. Kill it at any moment and begin it again with the same --run: it goes on where it was, and nothing is done twice.',
    'A store is like a service: this command, approve, reject, resume, resolve, retry and cancel go on with every unfinished run in it, not only',
    'with the one they name, and so with what it costs. To end a run that is not wanted any more: holdfast cancel <run>.',
    'Reports of earlier runs that lie among the documents are left out, unless they are named.',
    '',
    receiverProtocol,
  ].join('\n'),
  examples: [
    ['holdfast research "How do we rotate keys, and who may?" docs', 'reads docs/, asks for approval, writes report-<id>.md'],
    ['holdfast research "What changed in v2?" CHANGELOG.md --run v2 --out v2.md', 'under an id of your own'],
    ['holdfast research "…" docs --store redis://127.0.0.1:6379', 'the same on Redis'],
    ['holdfast research "…" docs --publish https://example.com/reports', 'sends the report instead of writing a file'],
    ['holdfast research "…" docs --ceiling 2usd,400000tokens', 'spends no more than that: what a call may cost is held before it is made'],
    ['holdfast research "…" docs --drill outage --ceiling 200000tokens', 'shows a breaker open, calls fall back and the budget count what failed; the report still comes out'],
  ],
  async run(given, terminal): Promise<ExitCode> {
    // All that can be wrong with what was typed is found before a store is begun.
    const wanted = await check(given, terminal)
    const session = await openSession(given, terminal, 'owner', true)
    return interruptible(session, terminal, async (signal) => {
      // Its calls would be made by that one, which has no model that is out of order.
      if (wanted.drill && session.mesh.system.role === 'client') throw new ConfigError('Another process runs what is in this store, and a drill needs a store that this one runs. Name another one: --store drill.')
      const run = await begin(session, wanted, given, terminal)
      return follow(session, run, terminal, { json: given.flags['json']!, unattended: given.strings['approve-as'] }, signal)
    })
  },
}

/** Skipped files that are named on the screen. */
const skippedToldMax = 10

interface Wanted {
  readonly question: string
  /** Undefined: a new one. */
  readonly id: string | undefined
  readonly inputs: Inputs
  /** Relative to the working directory; undefined: named after the run. */
  readonly out: string | undefined
  readonly publish: string | null
  /** Full name; undefined: the first one there is. */
  readonly model: string | undefined
  readonly ceiling: Ceiling
  /** Whether a model that is out of order is asked first. */
  readonly drill: boolean
}

/** @throws UsageError, ConfigError, InvalidIdError that say what is wrong */
async function check(given: Given, { cwd, env }: Terminal): Promise<Wanted> {
  const [question = '', ...paths] = given.positionals
  const { run, out, publish = null } = given.strings
  const ceiling = ceilingOf(given.strings['ceiling'])
  const drill = checkDrill(given.strings['drill'])
  if (!/[\p{L}\p{N}]/u.test(question)) throw new UsageError(`The question "${printable(question)}" has no word in it.`, 'research')
  if (publish !== null && !(URL.canParse(publish) && /^https?:$/.test(new URL(publish).protocol))) throw new UsageError(`--publish: expected an http: or https: address, got "${publish}".`, 'research')
  if (publish !== null && (new URL(publish).username !== '' || new URL(publish).password !== '')) throw new UsageError('--publish: the address holds a name or a password, which would stand in the run and its report. Let the receiver know its senders otherwise.', 'research')
  if (publish !== null && out !== undefined) throw new UsageError('--publish sends the report, --out writes it: give one of them.', 'research')
  const model = fullName(given.strings['model'])
  if (model !== undefined && model !== offlineName && (env['ANTHROPIC_API_KEY'] ?? '') === '') throw new ConfigError(`Model ${model} needs a key: set ANTHROPIC_API_KEY, or leave --model out to work offline.`)
  if (out !== undefined) await mustBeFile(out, cwd)
  const id = run === undefined ? undefined : checkId('run id', run)
  const inputs = await collectInputs(paths.length === 0 ? ['.'] : paths, cwd)
  return { question, id, inputs, model, out: out !== undefined && isAbsolute(out) ? relative(cwd, out) : out, publish, ceiling, drill }
}

/** A file, or a name for one; what lies above it may still be made. */
async function mustBeFile(out: string, cwd: string): Promise<void> {
  if (out === '' || out.endsWith('/')) throw new UsageError(`--out: expected the name of a file, got "${out}".`, 'research')
  if (await isThere(resolve(cwd, out), (stats) => !stats.isFile())) throw new UsageError(`--out: ${out} is no file but a folder or the like. Name a file in it.`, 'research')
  for (let above = dirname(resolve(cwd, out)); above !== dirname(above); above = dirname(above)) {
    if (await isThere(above, (stats) => !stats.isDirectory())) throw new UsageError(`--out: ${out} cannot be written: ${above} is a file.`, 'research')
  }
}

function isThere(path: string, as: (stats: Stats) => boolean): Promise<boolean> {
  return stat(path).then(as, () => false)
}

/** Starts the run, or finds it if there is one of that id with the same question. */
async function begin(session: Session, { question, id: named, inputs, out, publish, model: namedModel, ceiling, drill }: Wanted, given: Given, terminal: Terminal): Promise<RunHandle> {
  const wanted = named ?? newId()
  const id = given.flags['fresh'] ? await freeId(session, wanted) : wanted
  const known = session.mesh.handle(session.research, id)
  const status = await known.status()
  const say = (text: string): void => {
    if (!given.flags['json']) terminal.line(text)
  }
  if (status) {
    const asked = question.normalize('NFC').replace(/\s+/gu, ' ').trim()
    if (status.goal !== asked) throw new ConfigError(`Run ${id} asks another question: "${status.goal}". Give another --run, or --fresh.`)
    if (status.state === 'done' || status.state === 'failed') say(`Run ${id} has ended; this is how. To begin anew, add --fresh.`)
    else say(`Run ${id} exists and is gone on with.${session.mesh.system.role === 'client' ? ' Another process runs it; this one looks on.' : ''}`)
    return known
  }
  const file = out ?? `report-${id}.md`
  const replaces = publish === null && (await isThere(resolve(terminal.cwd, file), () => true))
  const model = modelOf(session, namedModel)
  const { files, skipped, skippedCount, encodings } = inputs
  const material: Material = { root: terminal.cwd, files: packFiles(files), fileCount: files.length, skipped, skippedCount, out: file, replaces, publish, model, ...(drill ? { isDrill: true as const } : {}) }
  say(`Run ${id}: ${files.length} ${files.length === 1 ? 'document' : 'documents'}${skippedCount === 0 ? '' : `, ${skippedCount} skipped`}, ${model === offlineName ? 'offline model (no language model, no key)' : model}.`)
  if (drill) say(`Drill: ${drillName} is asked first, and is out of order for a few seconds; ${model} is asked when it cannot be.`)
  for (const { path, reason } of skipped.slice(0, skippedToldMax)) say(`  skipped ${printable(path)}: ${reason}`)
  if (skippedCount > skippedToldMax) say(`  and ${skippedCount - skippedToldMax} more; the report names ${Math.min(skippedCount, skippedMax)}`)
  for (const [encoding, count] of Object.entries(encodings)) say(`  ${count} read as ${printable(encoding)}`)
  return session.mesh.run(session.research, { id, goal: question, ceiling, models: drill ? [drillName, model] : [model], material })
}

function fullName(model: string | undefined): string | undefined {
  if (model === undefined || model.includes('/')) return model
  return model === 'offline' ? offlineName : `anthropic/${model}`
}

/** @throws ConfigError if this process has no such model */
function modelOf({ mesh }: Session, named: string | undefined): string {
  const names = mesh.modelNames()
  const model = named ?? names[0]!
  if (names.includes(model)) return model
  throw new ConfigError(`Model ${model} is not one of this process: ${names.join(', ')}. Set HOLDFAST_MODEL=${model.replace(/^anthropic\//, '')} to add it.`)
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
