/** `holdfast graph`, as a user runs it. */
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createMachine } from 'xstate'
import { holdfast } from '../support/cli.js'

let cwd: string
const xstate = JSON.stringify(resolve('node_modules/xstate/dist/xstate.esm.js'))
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'holdfast-graph-'))
  await writeFile(join(cwd, 'one.mjs'), `import { setup } from ${xstate}\nexport const light = setup({}).createMachine({ id: 'light', initial: 'red', states: { red: { after: { 500: 'green' } }, green: {} } })\nexport default light\nexport const other = 5\n`)
  await writeFile(join(cwd, 'two.mjs'), `export { light } from './one.mjs'\nimport { createMachine } from ${xstate}\nexport const inline = createMachine({ id: 'inline', on: { go: { actions: () => {} } } })\n`)
  await writeFile(join(cwd, 'none.mjs'), 'export const x = 1\n')
  await writeFile(join(cwd, 'broken.mjs'), 'throw new Error("not today")\n')
})
afterAll(() => rm(cwd, { recursive: true, force: true }))

test('draws a chart of its own to standard output, and begins no store', async () => {
  const { code, lines } = await holdfast(['graph', 'call'], { cwd })
  expect(code).toBe(0)
  expect(lines[0]).toMatch(/^<svg xmlns=/)
  expect(lines.at(-1)).toBe('</svg>')
  expect(await readdir(cwd)).not.toContain('.holdfast')
})

test('draws a machine of the user’s, in the format that the file’s name says, and Stately’s JSON makes the machine again', async () => {
  for (const [file, start] of [['a.svg', '<svg'], ['a.mmd', 'stateDiagram-v2'], ['a.json', '{']] as const) {
    expect((await holdfast(['graph', './one.mjs', '--out', file], { cwd })).lines).toEqual([`Written: ${file}`])
    expect(await readFile(join(cwd, file), 'utf8')).toMatch(new RegExp(`^${start}`))
  }
  const json = JSON.parse(await readFile(join(cwd, 'a.json'), 'utf8')) as object
  expect(Object.keys(createMachine(json).states)).toEqual(['red', 'green'])
  const named = await holdfast(['graph', 'two.mjs#light', '--format', 'mermaid'], { cwd })
  expect(named.lines).toContain('  light_red --> light_green: after 500')
})

test('with --json prints the machine, or where it was written', async () => {
  const printed = await holdfast(['graph', './one.mjs', '--json'], { cwd })
  expect(Object.keys(createMachine(JSON.parse(printed.lines.join('\n')) as object).states)).toEqual(['red', 'green'])
  expect((await holdfast(['graph', './one.mjs', '--json', '--out', 'one.txt'], { cwd })).lines).toEqual(['{"written":"one.txt"}'])
  expect(JSON.parse(await readFile(join(cwd, 'one.txt'), 'utf8'))).toMatchObject({ id: 'light' })
  const refused = await holdfast(['graph', 'two.mjs#inline', '--json'], { cwd })
  expect([refused.code, JSON.parse(refused.lines.join('\n'))]).toEqual([2, { error: { code: 'USAGE', message: expect.stringMatching(/inline function/) as string } }])
})

test.each([
  [['graph'], /needs <machine>/],
  [['graph', 'agnet'], /There is no machine "agnet": it is none of agent, allotment, budget, call, circuitBreaker, limiter, run, supervisor, and there is no such file/],
  [['graph', 'none.mjs'], /exports no machine/],
  [['graph', 'two.mjs'], /exports inline, light\. Say which: two\.mjs#inline/],
  [['graph', 'two.mjs#lihgt'], /exports no machine "lihgt"; it exports inline, light/],
  [['graph', 'broken.mjs'], /cannot be loaded: not today/],
  [['graph', 'two.mjs#inline', '-f', 'json'], /inline function\. Give it a name/],
  [['graph', 'call', '--json', '-f', 'svg'], /--json and --format svg: it is one or the other/],
  [['graph', 'call', '-f', 'png'], /there is no "png"; there are svg, mermaid, json/],
  [['graph', 'call', '-o', 'no/where.svg'], /--out: ENOENT/],
  [['graph', 'call', '--store', 'x'], /Unknown option '--store'/],
])('%j says what is wrong', async (args, message) => {
  const { code, stderr, lines } = await holdfast(args, { cwd })
  expect(code).toBe(2)
  expect(`${stderr}${lines.join('\n')}`).toMatch(message)
})
