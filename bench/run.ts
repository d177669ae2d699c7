/**
 * `npm run bench [name …] [-- --reps 7] [--json]`: figures as ratios, measured side by side. A name is the beginning of a
 * figure's: `npm run bench durable.lmdb`. Needs nothing but redis-server for the figures on Redis.
 */
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bulkhead } from './bulkhead.js'
import { callOverhead, callTrips, serve, tripSets } from './calls.js'
import { durable, storeKinds } from './durable.js'
import { jsonLines, measure, table, type Figure, type Result } from './figure.js'
import { latencyStores, sendToTurn } from './latency.js'
import { memoryIdle, passivated, restore } from './memory.js'
import { host, millionActors } from './many.js'
import { handOverJoin, handOverLeave, node, takeOver, twoNodes } from './nodes.js'
import { payloadBytes, payloadCaseNames } from './payloads.js'
import { fill, recovery } from './recovery.js'
import { takeOverOfMany, takeOverReads, work } from './take-over.js'
import { simulatedNodes, simulatedSizes } from './simulated-nodes.js'
import { bareStep, sendMemory, turnsMemory, turnsMemoryPass } from './turns.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { reps: { type: 'string', default: '5' }, json: { type: 'boolean', default: false }, fill: { type: 'string' }, node: { type: 'string' }, work: { type: 'string' }, host: { type: 'string' }, how: { type: 'string' }, serve: { type: 'boolean' } },
})
if (values.fill !== undefined) await fill(values.fill)
if (values.node !== undefined) await node(values.node)
if (values.work !== undefined) await work(values.work)
if (values.serve) await serve()
if (values.host !== undefined) await host(values.host, values.how!)

/** By name, in the order in which they are told. */
const figures: Readonly<Record<string, (scratch: string) => Promise<Figure>>> = {
  'step.bare': bareStep,
  'turns.memory': turnsMemory,
  'turns.memory.pass': turnsMemoryPass,
  'send.memory': sendMemory,
  ...Object.fromEntries(
    storeKinds.flatMap((kind) => [
      ...[1, 100, 1_000, 10_000].map((n) => [`durable.${kind}.${n}`, durable(kind, n)] as const),
      [`durable.${kind}.1000.across`, durable(kind, 1_000, { across: true })] as const,
      [`durable.${kind}.1000.8kb`, durable(kind, 1_000, { contextKb: 8 })] as const,
      [`durable.${kind}.1000.64kb`, durable(kind, 1_000, { contextKb: 64 })] as const,
    ]),
  ),
  ...Object.fromEntries(
    latencyStores.flatMap((kind) =>
      (['owner', 'client'] as const).flatMap((from) => [0.5, 0.99].map((share) => [`send.to.turn.${kind}.${from}.p${share * 100}`, sendToTurn(kind, from, share)] as const)),
    ),
  ),
  ...Object.fromEntries((['p50', 'p99', 'cpu'] as const).map((what) => [`call.overhead.${what}`, callOverhead(what)] as const)),
  ...Object.fromEntries(tripSets.map((set) => [`call.trips.${set}`, callTrips(set)] as const)),
  ...Object.fromEntries(payloadCaseNames.map((name) => [`payload.${name}`, payloadBytes(name)] as const)),
  'memory.idle': memoryIdle,
  restore,
  passivated,
  'recovery.10000': recovery,
  'handover.join': handOverJoin,
  'handover.leave': handOverLeave,
  takeover: takeOver,
  'takeover.10000': takeOverOfMany,
  'takeover.reads': takeOverReads,
  'nodes.two': twoNodes,
  ...Object.fromEntries(simulatedSizes.flatMap(simulatedNodes)),
  'bulkhead.p50': bulkhead(0.5),
  'bulkhead.p99': bulkhead(0.99),
  'actors.1000000': millionActors,
}

/** Takes minutes: measured only if it is named. */
const longOnes = new Set(['actors.1000000'])

const names = positionals.length === 0 ? Object.keys(figures).filter((name) => !longOnes.has(name)) : Object.keys(figures).filter((name) => positionals.some((given) => name === given || name.startsWith(`${given}.`)))
const unknown = positionals.filter((given) => !Object.keys(figures).some((name) => name === given || name.startsWith(`${given}.`)))
const reps = Number(values.reps)
if (unknown.length > 0 || !(Number.isSafeInteger(reps) && reps >= 1)) {
  console.error(unknown.length > 0 ? `There is no figure ${unknown.join(', ')}. There are:\n  ${Object.keys(figures).join('\n  ')}` : `--reps: expected a whole number of at least 1, got ${values.reps}.`)
  process.exit(2)
}
if (names.some((name) => /redis|handover|takeover|nodes|actors|call/.test(name)) && spawnSync('redis-server', ['--version']).status !== 0) {
  console.error('There is no redis-server on the PATH for the figures on Redis. `npm test` provides one; or name other figures.')
  process.exit(2)
}

const scratch = await mkdtemp(join(tmpdir(), 'holdfast-bench-'))
const results: Result[] = []
try {
  for (const name of names) {
    const figure = await figures[name]!(scratch)
    process.stderr.write(`${name}: ${figure.what}\n`)
    const told = await measure(figure, reps)
    results.push(...told)
    if (values.json) console.log(jsonLines(told))
  }
} finally {
  await rm(scratch, { recursive: true, force: true })
}
if (!values.json) {
  console.log(table(results))
  console.log(`\n${availableParallelism()} × ${cpus()[0]?.model ?? 'cpu'}, Node ${process.versions.node}, ${reps} rounds after one that is not counted. A ratio is the median of the value over the other's, round by round; then the least and the greatest.`)
}
process.exit(0)
