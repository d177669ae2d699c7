/**
 * The examples of README, docs and doc comments are compiled and run, as a user of the built package would write them.
 * A fence "```ts no-run" is compiled only.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

interface Example {
  readonly name: string
  readonly code: string
  readonly runs: boolean
}

const pages = ['README.md', ...readdirSync('docs').filter((name) => name.endsWith('.md')).map((name) => join('docs', name))]

const examples: Example[] = pages.flatMap((page) => {
  const text = readFileSync(page, 'utf8')
  return [...text.matchAll(/^```ts( no-run)?\n([^]*?)^```$/gm)].map((match, i) => ({ name: `${page.replace(/\W+/g, '-')}-${i + 1}`, code: match[2]!, runs: match[1] === undefined }))
})

/** A project that has the package installed. */
let project: string
let compiled: { readonly ok: boolean; readonly output: string }

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'holdfast-docs-'))
  mkdirSync(join(project, 'node_modules'))
  for (const name of readdirSync('node_modules')) if (!name.startsWith('.')) symlinkSync(resolve('node_modules', name), join(project, 'node_modules', name))
  mkdirSync(join(project, 'node_modules', 'holdfast'))
  for (const name of ['package.json', 'dist']) symlinkSync(resolve(name), join(project, 'node_modules', 'holdfast', name))
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }')
  writeFileSync(
    join(project, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: { target: 'es2023', module: 'nodenext', strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, skipLibCheck: true, types: ['node'], outDir: 'out', rootDir: '.' }, include: ['*.ts'] }),
  )
  for (const { name, code } of examples) writeFileSync(join(project, `${name}.ts`), `${code}\nexport {}\n`)
  const { status, stdout } = spawnSync(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', '.'], { cwd: project, encoding: 'utf8' })
  compiled = { ok: status === 0, output: stdout }
})
afterAll(() => rmSync(project, { recursive: true, force: true }))

test('there are examples', () => expect(examples.length).toBeGreaterThan(2))

describe.each(examples)('$name', ({ name, runs }) => {
  test('compiles', () => {
    expect(compiled.output.split('\n').filter((line) => line.startsWith(`${name}.ts`))).toEqual([])
    expect(existsSync(join(project, 'out', `${name}.js`))).toBe(true)
  })
  if (runs) {
    test('runs', () => {
      const cwd = join(project, `${name}-run`)
      mkdirSync(cwd)
      const { status, stdout, stderr } = spawnSync(process.execPath, [join(project, 'out', `${name}.js`)], { cwd, encoding: 'utf8', timeout: 60_000 })
      expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: '' })
    })
  }
})

test('the reminder of the README rings although it is killed within the half second', async () => {
  const script = join(project, 'out', `${examples[0]!.name}.js`)
  const cwd = join(project, 'killed')
  mkdirSync(cwd)
  const first = spawn(process.execPath, [script], { cwd, stdio: ['ignore', 'pipe', 'inherit'] })
  await once(createInterface({ input: first.stdout }), 'line')
  first.kill('SIGKILL')
  await once(first, 'exit')
  const second = spawnSync(process.execPath, [script], { cwd, encoding: 'utf8', timeout: 30_000 })
  expect(second.stdout.trim().split('\n')).toEqual(['it will ring', 'it rang'])
})

test('the charts in docs are those of the code', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/docs.mjs', '--check'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})

