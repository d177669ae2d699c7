// The package from a consumer's side: packs it, unpacks it into projects as npm would, and there compiles what test/types claims,
// imports every entry point, and runs the command. Needs a build, and no network: other packages are linked from here.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'

const manifest = JSON.parse(readFileSync('package.json', 'utf8'))
const entryPoints = Object.keys(manifest.exports).filter((path) => path !== './package.json').map((path) => path.replace('.', 'holdfast'))

/** The package that an entry point asks for first, beside xstate and zod. */
const needs = { 'holdfast/lmdb': 'lmdb', 'holdfast/redis': 'ioredis', 'holdfast/anthropic': '@anthropic-ai/sdk', 'holdfast/offline': 'minisearch', 'holdfast/inspect': 'ws', 'holdfast/testing/fast-check': 'fast-check', 'holdfast/testing/graph': '@xstate/graph' }

const base = { target: 'es2022', module: 'nodenext', lib: ['es2022'], types: ['node'], strict: true, exactOptionalPropertyTypes: false, skipLibCheck: false, noEmit: true }
const variants = [
  { name: 'nodenext, exactOptionalPropertyTypes', options: { exactOptionalPropertyTypes: true } },
  { name: 'nodenext, with the DOM', options: { lib: ['es2022', 'dom'] } },
  { name: 'bundler', options: { module: 'esnext', moduleResolution: 'bundler' } },
]
/** Declarations of others that do not compile by themselves, and when. */
const foreign = [{ file: /\bnode_modules\/xstate\/dist\/declarations\/src\/setup\.d\.ts$/, when: (options) => options.exactOptionalPropertyTypes }]

// Its name holds what a URL would take for something else.
const scratch = mkdtempSync(join(tmpdir(), 'holdfast consumer#%20'))
/** Vite cannot take such a name. */
const plain = mkdtempSync(join(tmpdir(), 'holdfast-consumer-'))
let failures = 0
try {
  const { filename, files } = pack()
  const tarball = join(scratch, filename)
  const optional = Object.keys(manifest.peerDependenciesMeta)
  const required = [...Object.keys(manifest.peerDependencies).filter((name) => !optional.includes(name)), ...Object.keys(manifest.dependencies)]
  check('the tarball holds what it should and nothing else', () => contentsOf(files))
  const whole = project('whole', tarball, [...required, ...optional, '@types/node'])
  check('every name that the types promise is there, and no other', () => namesOf(whole))
  for (const name of readdirSync('test/types')) writeFileSync(join(whole, name), readFileSync(join('test/types', name)))
  for (const variant of variants) check(`test/types compiles: ${variant.name}`, () => compile(whole, variant))
  check('test/types compiles but for what it refuses, which is refused for the reason it gives: nodenext', () => refusalsOf(whole))
  const testing = project('testing', tarball, [...required, 'fast-check', '@xstate/graph', 'vitest'], plain)
  for (const runner of ['node:test', 'vitest']) check(`what is there for tests works under ${runner}`, () => testsUnder(testing, runner))
  const bare = project('bare', tarball, ['xstate', 'zod', '@types/node', 'msgpackr'])
  check('each entry point needs its own packages only, and names the one that is missing', () => needsOf(bare))
  check('so do its types', () => typeNeedsOf(bare))
  const usual = project('usual', tarball, required)
  check('the command runs, without the optional packages', () => commandIn(usual))
} finally {
  for (const folder of [scratch, plain]) rmSync(folder, { recursive: true, force: true })
}
process.exitCode = failures === 0 ? 0 : 1

/** @param look answers what is wrong, one line each */
function check(claim, look) {
  const problems = look()
  console.log(`${problems.length === 0 ? 'ok' : 'FAILED'}  ${claim}`)
  for (const problem of problems) console.log(`        ${problem}`)
  if (problems.length > 0) failures++
}

// ── Projects ──

function pack() {
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', scratch], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`npm pack failed:\n${stderr}`)
  return JSON.parse(stdout)[0]
}

/** A project that has the package installed, and these beside it. */
function project(name, tarball, packages, within = scratch) {
  const folder = join(within, name)
  const home = join(folder, 'node_modules', 'holdfast')
  mkdirSync(home, { recursive: true })
  const { status, stderr } = spawnSync('tar', ['-xzf', tarball, '-C', home, '--strip-components=1'], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${tarball} cannot be unpacked:\n${stderr}`)
  for (const other of packages) {
    const link = join(folder, 'node_modules', other)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(resolve('node_modules', other), link)
  }
  mkdirSync(join(folder, 'node_modules', '.bin'))
  for (const [command, target] of Object.entries(manifest.bin)) symlinkSync(join('..', 'holdfast', target), join(folder, 'node_modules', '.bin', command))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  return folder
}

function nodeIn(folder, code) {
  return spawnSync(process.execPath, ['--input-type=module', '--eval', code], { cwd: folder, encoding: 'utf8' })
}

// ── What is packed ──

function contentsOf(files) {
  const packed = new Set(files.map(({ path }) => path))
  const targets = Object.values(manifest.exports).flatMap((target) => (typeof target === 'string' ? [target] : Object.values(target)))
  const scripts = readdirSync('src', { recursive: true }).filter((path) => path.endsWith('.lua')).map((path) => `dist/${path}`)
  const needed = ['LICENSE', 'README.md', 'CHANGELOG.md', ...scripts, ...[...targets, ...Object.values(manifest.bin)].map((path) => path.replace('./', ''))]
  const missing = needed.filter((path) => !packed.has(path)).map((path) => `${path} is missing`)
  const allowed = /^(?:(?:LICENSE|(?:README|ARCHITECTURE|CHANGELOG|CONTRIBUTING)\.md|package\.json)|docs\/(?:[\w-]+\.md|policies\.schema\.json)|dist\/(?:[\w-]+\/)*[\w-]+(?:\.machine)?\.(?:js|d\.ts|js\.map|lua))$/
  const strange = [...packed].filter((path) => !allowed.test(path)).map((path) => `${path} should not be there`)
  const modes = files.filter(({ path, mode }) => `./${path}` === manifest.bin.holdfast && (mode & 0o111) === 0).map(({ path }) => `${path} is not executable`)
  return [...missing, ...strange, ...modes]
}

// ── Types ──

/** The compiler's errors, by file and line. */
function errorsOf(folder, options) {
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...base, ...options }, include: ['*.ts'] }))
  const { stdout } = spawnSync(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', '.', '--pretty', 'false'], { cwd: folder, encoding: 'utf8' })
  const errors = [...stdout.matchAll(/^(?:(.+?)\((\d+),\d+\): )?error TS(\d+): (.*)$/gm)].map(([, file = '', line, code, message]) => ({ file: file && resolve(folder, file), line: Number(line), code, message }))
  return errors.map(({ file, ...rest }) => ({ file: file.startsWith(folder) ? relative(folder, file) : file, ...rest }))
}

function compile(folder, { options }) {
  const errors = errorsOf(folder, options)
  const expected = foreign.filter(({ when }) => when(options))
  const unknown = errors.filter(({ file }) => !expected.some((other) => other.file.test(file)))
  const idle = expected.filter((other) => !errors.some(({ file }) => other.file.test(file)))
  return [...unknown.map(({ file, line, code, message }) => `${file}:${line} TS${code} ${message}`), ...idle.map(({ file }) => `${file.source} compiles by now: take it off the list`)]
}

/** Without its directive, the line after each `@ts-expect-error TS…` must have that error, and no other line any. */
function refusalsOf(folder) {
  const expected = []
  for (const name of readdirSync('test/types')) {
    const text = readFileSync(join('test/types', name), 'utf8')
    text.split('\n').forEach((line, i) => {
      const directive = /^\s*\/\/ @ts-expect-error(?: TS(\d+) \S)?/.exec(line)
      if (directive) expected.push(`${name}:${i + 2} TS${directive[1] ?? '… and why is not said'}`)
    })
    writeFileSync(join(folder, name), text.replaceAll('@ts-expect-error', 'refused:'))
  }
  const found = errorsOf(folder, {}).map(({ file, line, code }) => `${file}:${line} TS${code}`)
  return [...expected.filter((one) => !found.includes(one)).map((one) => `${one} is not found`), ...found.filter((one) => !expected.includes(one)).map((one) => `${one} is not expected`)]
}

// ── Entry points ──

/** Asks the compiler about a source that lists, by entry point, the values there are. */
function namesOf(folder) {
  const { status, stdout, stderr } = nodeIn(folder, `for (const path of ${JSON.stringify(entryPoints)}) console.log(path, ...Object.keys(await import(path)))`)
  if (status !== 0) return stderr.split('\n')
  const lines = stdout.trimEnd().split('\n').map((line) => line.split(' '))
  const source = lines.map(([path, ...names]) => `void ({ ${names.map((name) => `${name}: true`).join(', ')} } satisfies Record<keyof typeof import('${path}'), true>)`)
  writeFileSync(join(folder, 'names.ts'), `${source.join('\n')}\nexport {}\n`)
  const errors = errorsOf(folder, {})
  rmSync(join(folder, 'names.ts'))
  return errors.filter(({ file }) => file === 'names.ts').map(({ line, message }) => `${entryPoints[line - 1]}: ${message}`)
}

function needsOf(folder) {
  return entryPoints.flatMap((path) => {
    const { stdout } = nodeIn(folder, `await import('${path}').then(() => console.log('there'), ({ message }) => console.log(message))`)
    const said = stdout.trim()
    const expected = needs[path] === undefined ? /^there$/ : new RegExp(`^Cannot find package '${needs[path]}' imported from .*/holdfast/dist/(?:adapters|testing)/`)
    return expected.test(said) ? [] : [`${path}: ${said}`]
  })
}

/** The store contract, a crash test, a property and a walk, as users write them. */
function testsUnder(folder, runner) {
  writeFileSync(
    join(folder, 'user.test.js'),
    `import assert from 'node:assert/strict'
import { test } from '${runner}'
import fc from 'fast-check'
import { MemoryDatabase, MemoryStore } from 'holdfast/memory'
import { crashTest, storeContract } from 'holdfast/testing'
import { actorModel, eventArbitrary } from 'holdfast/testing/fast-check'
import { walkChart } from 'holdfast/testing/graph'
import { assign, setup } from 'xstate'
import { z } from 'zod'

const order = setup({ actions: { pay: assign({ paid: ({ context, event }) => context.paid + event.cents }) } }).createMachine({
  id: 'order', context: { paid: 0 }, initial: 'open',
  states: { open: { on: { pay: { actions: 'pay' } }, after: { 1000: 'lapsed' } }, lapsed: { type: 'final' } },
})
const create = async () => {
  const database = new MemoryDatabase()
  return { connect: () => new MemoryStore({ database }), node: (id) => ({ id }), dispose: async () => {} }
}
for (const { name, run } of storeContract({ create })) test(name, run)
test('a crash test', async () => assert.ok((await crashTest(order, { steps: [{ type: 'pay', cents: 1 }] })).runs > 0))
test('a property', async () => {
  const model = actorModel(order, { events: eventArbitrary(order, { pay: z.object({ cents: z.int().min(0) }) }) })
  await fc.assert(fc.asyncProperty(model.commands, model.run), { numRuns: 10 })
})
test('a walk', () => {
  const walk = walkChart(order, { events: [{ type: 'pay', cents: 1 }] })
  assert.deepEqual(walk.transitions.missing, [], String(walk))
})
`,
  )
  const args = runner === 'vitest' ? [resolve('node_modules/vitest/vitest.mjs'), 'run', '--reporter=tap-flat'] : ['--test', '--test-reporter=tap', 'user.test.js']
  const { NODE_TEST_CONTEXT: _, VITEST: __, ...env } = process.env
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8', env })
  const passed = stdout.match(/^\s*ok \d+/gm)?.length ?? 0
  return [...(status === 0 ? [] : [`${runner} ended with ${status}: ${stdout.slice(-2_000)}${stderr.slice(-2_000)}`]), ...(passed < 20 ? [`only ${passed} passed`] : [])]
}

function typeNeedsOf(folder) {
  const free = entryPoints.filter((path) => needs[path] === undefined)
  writeFileSync(join(folder, 'free.ts'), free.map((path, i) => `export type * as _${i} from '${path}'\n`).join(''))
  return errorsOf(folder, {}).map(({ file, message }) => `${file}: ${message}`)
}

function commandIn(folder) {
  const command = join(folder, 'node_modules', '.bin', 'holdfast')
  return [
    { args: ['--version'], says: new RegExp(`^${manifest.version}\n$`) },
    { args: ['--help'], says: /^Usage: holdfast <command> \[options\]\n/ },
    { args: ['runs', '--store', 'redis://127.0.0.1:1'], says: /npm install ioredis\n$/, status: 1 },
  ].flatMap(({ args, says, status = 0 }) => {
    const run = spawnSync(command, args, { cwd: folder, encoding: 'utf8' })
    const said = `${run.stdout}${run.stderr}`
    return run.status === status && says.test(said) ? [] : [`holdfast ${args.join(' ')} ended with ${run.status ?? run.error}: ${said}`]
  })
}
