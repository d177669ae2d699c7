/** What every command has: its help, and JSON. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { holdfast } from '../support/cli.js'
import { question, writeDocuments } from '../support/documents.js'

let cwd: string
let names: string[]
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'holdfast-commands-'))
  await writeDocuments(cwd)
  const { lines } = await holdfast(['--help'], { cwd })
  const first = lines.indexOf('Commands:') + 1
  names = lines.slice(first, lines.indexOf('', first)).map((line) => line.trim().split(' ')[0]!)
})
afterAll(() => rm(cwd, { recursive: true, force: true }))

test('every command says its help, which names --help and --json', async () => {
  expect(names.length).toBeGreaterThan(10)
  for (const name of names) {
    for (const args of [[name, '--help'], ['help', name]]) {
      const { code, lines, stderr } = await holdfast(args, { cwd })
      expect([code, stderr], name).toEqual([0, ''])
      expect(lines[0]).toMatch(new RegExp(`^Usage: holdfast ${name}\\b`))
      for (const option of ['--help', '--json']) expect(lines.join('\n'), name).toMatch(new RegExp(`^ .*${option}\\b`, 'm'))
    }
  }
}, 120_000)

test('every command says with --json what it has to say in JSON, also what went wrong', async () => {
  const lines = [
    ['research', question, 'docs', '--run', 'r'], ['runs'], ['show', 'r'], ['trace', 'r'], ['resume', 'r'], ['resolve', 'r', '--happened'], ['retry', 'r'], ['approve', 'r'], ['inspect', 'r'], ['replay', 'research/r'], ['doctor'], ['policy', 'explain', 'researcher'], ['actors'], ['dead-letters'],
    ['research', question, 'docs', '--run', 's'], ['reject', 's'], ['cancel', 's'], ['graph', 'agent'], ['graph', 'nothing'], ['research'], ['move', '--from', '.holdfast', '--to', 'moved'],
  ]
  expect([...new Set(lines.map(([name]) => name))].toSorted()).toEqual(names.toSorted())
  for (const line of lines) {
    const { lines: said } = await holdfast([...line, '--json'], { cwd })
    expect(said, line.join(' ')).not.toEqual([])
    expect(said.join('\n')).not.toContain('Unknown option')
    // A machine is one value over many lines; all else is one a line.
    for (const json of line[0] === 'graph' ? [said.join('\n')] : said) expect(typeof JSON.parse(json), json).toBe('object')
  }
}, 120_000)
