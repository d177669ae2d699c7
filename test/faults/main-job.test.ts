/**
 * The main job in real processes, killed with SIGKILL at random moments between its first intent and its last commit,
 * and begun again until it ends. A receiver in a process of its own counts what reached the world.
 */
import { copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startHoldfast } from '../support/cli.js'
import { extent, firstSeed, tier } from '../support/extent.js'
import { Random } from '../support/random.js'
import { RedisServer } from '../support/redis-server.js'
import { runScript, type RunningScript } from '../support/run-script.js'

/** Runs that are killed at least once in that time, on each store. */
const runsMin = extent(3, 100)
/** How often one run is killed at most; and the first one, early in each of its processes, so that they fall on the same effects. */
const killsMax = 3
const killsOfFirst = 8

const question = 'How does ioredis reconnect and retry lost commands, how does pino redact secrets, and how does zod report validation errors?'
const packages = ['ioredis', 'pino', 'zod', 'lmdb', 'minisearch', 'xstate', 'fast-check', 'wink-nlp', 'msgpackr', 'thread-stream', 'typescript']

let folder: string
let redis: RedisServer
let sink: RunningScript
let url: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-kills-'))
  await mkdir(join(folder, 'docs'))
  await mkdir(join(folder, 'sink'))
  for (const name of packages) await copyFile(join('node_modules', name, 'README.md'), join(folder, 'docs', `${name}.md`))
  redis = await RedisServer.start({ appendfsync: 'always' })
  sink = await runScript('test/support/sink.ts', [join(folder, 'sink'), '120'])
  url = `http://127.0.0.1:${(await sink.lines.next()).value as string}`
})
afterAll(async () => {
  sink.end()
  await sink.exited
  await redis.stop()
  await rm(folder, { recursive: true, force: true })
})

const stores = { LMDB: (n: number) => join(folder, `store-${n}`), Redis: () => redis.url }

describe.each(Object.keys(stores) as (keyof typeof stores)[])('on %s', (name) => {
  const optionsOf = (n: number): string[] => ['--run', 'r', '--store', stores[name](n), '--namespace', `${name}-${n}`, '--lease-ms', '300', '--approve-as', 'test', '--publish', `${url}/${name}/${n}`, '--json']

  test(`${runsMin} killed runs: one execution for each key, and the undisturbed report (seed ${firstSeed})`, async () => {
    const random = new Random(firstSeed)
    const undisturbed = await attempt(optionsOf(0))
    expect(undisturbed).toMatchObject({ code: 0, summary: { state: 'done' } })
    const body = bodyOf((await taken()).at(-1)!.text)

    const kills: Kill[] = []
    let killed = 0
    for (let n = 1; killed < runsMin; n++) {
      const before = kills.length
      let ended = false
      for (let k = n === 1 ? killsOfFirst : random.below(killsMax) + 1; k > 0 && !ended; k--) {
        const share = random.next() * (n === 1 ? 0.3 : 1)
        const { signal, state, ms } = await attempt(optionsOf(n), undisturbed.ms * share)
        // Not killed, or after its last commit: it does not count.
        if (signal === 'SIGKILL' && state !== 'none' && state !== 'done') kills.push({ state, share: ms / undisturbed.ms })
        ended = signal === undefined
      }
      const last = await attempt(optionsOf(n))
      expect(last, `run ${n}`).toMatchObject({ code: 0, summary: { state: 'done' } })
      if (kills.length > before) killed++

      const here = (await taken()).filter(({ path }) => path === `/${name}/${n}`)
      expect(here.map(({ what }) => what).filter((what) => what !== 'repeated'), `run ${n}`).toEqual(['executed'])
      expect(bodyOf(here[0]!.text), `run ${n}`).toBe(body)
    }
    const all = (await taken()).filter(({ path }) => path.startsWith(`/${name}/`))
    expect(new Set(all.map(({ key }) => key)).size).toBe(all.filter(({ what }) => what === 'executed').length)
    console.log(histogram(`${name}: ${kills.length} kills in ${killed} runs; the receiver executed ${new Set(all.map(({ key }) => key)).size} keys once, was asked again ${all.filter(({ what }) => what === 'repeated').length} times`, kills))
  }, tier === 'second' ? 1_800_000 : 300_000)
})

interface Kill {
  readonly state: string
  /** When, as a share of the time that the undisturbed run took from its first intent to its end. */
  readonly share: number
}

interface Attempt {
  readonly code: number | undefined
  readonly signal: NodeJS.Signals | undefined
  /** The last state that it told. */
  readonly state: string
  readonly summary: unknown
  /** From its first intent to its end. */
  readonly ms: number
}

/** Begins the run, or goes on with it, and kills its process so long after it told of its first intent. */
async function attempt(options: readonly string[], killAfterMs?: number): Promise<Attempt> {
  const child = await startHoldfast(['research', question, 'docs', ...options], { cwd: folder })
  let state = 'none'
  let began = 0
  let timer: NodeJS.Timeout | undefined
  let summary: { state?: string; run?: string } = {}
  let last = ''
  for await (const line of child.lines) {
    last = line
    const told = JSON.parse(line) as { state: string; step?: string; run?: string }
    if (began === 0) {
      began = performance.now()
      if (killAfterMs !== undefined) timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs)
    }
    if (told.run !== undefined) summary = told
    if (told.step === undefined || told.run !== undefined) state = told.state
  }
  clearTimeout(timer)
  const { code, signal, stderr } = await child.exited
  if (signal === undefined && code !== 0) throw new Error(`it ended with ${code}: ${stderr}${last}`)
  return { code, signal, state, summary, ms: performance.now() - began }
}

interface Taken {
  readonly what: string
  readonly key: string
  readonly path: string
  readonly text: string
}

/** Everything that reached the receiver, as it stands on its disk. */
async function taken(): Promise<Taken[]> {
  const log = (await readFile(join(folder, 'sink', 'log'), 'utf8')).split('\n').filter((line) => line !== '')
  return Promise.all(
    log.map(async (line) => {
      const [what, key, digest, path] = line.split(' ') as [string, string, string, string]
      return { what, key, path, text: what === 'conflict' ? '' : await readFile(join(folder, 'sink', `${digest}.md`), 'utf8') }
    }),
  )
}

function bodyOf(report: string): string {
  return report.slice(0, report.indexOf('\n## About this run'))
}

/** By the state it was in, and by tenths of the time. */
function histogram(title: string, kills: readonly Kill[]): string {
  const count = (state: string): number => kills.filter((kill) => kill.state === state).length
  const states = [...new Set(kills.map(({ state }) => state))].map((state) => `  ${state.padEnd(18)}${'█'.repeat(count(state))} ${count(state)}`)
  const tenths = Array.from({ length: 10 }, (_, i) => kills.filter(({ share }) => Math.min(9, Math.floor(share * 10)) === i).length)
  return [title, ...states, ...tenths.map((n, i) => `  ${i * 10}–${i * 10 + 10} %`.padEnd(20) + `${'█'.repeat(n)} ${n}`)].join('\n')
}
