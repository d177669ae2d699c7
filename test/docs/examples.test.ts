/**
 * The examples of README, docs and doc comments are compiled and run, as a user of the built package would write them.
 * A fence "```ts no-run" is compiled only.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runNode } from '../support/run-script.js'
import { UserProject } from '../support/user-project.js'

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

let project: UserProject
beforeAll(() => {
  project = new UserProject(Object.fromEntries(examples.map(({ name, code }) => [name, `${code}\nexport {}\n`])))
})
afterAll(() => project.remove())

test('there are examples', () => expect(examples.length).toBeGreaterThan(2))

describe.each(examples)('$name', ({ name, runs }) => {
  test('compiles', () => expect(project.errorsIn(name)).toEqual([]))
  if (runs) {
    test('runs', () => {
      const { status, stderr, lines } = project.run(name)
      expect({ status, stderr }, lines.join('\n')).toEqual({ status: 0, stderr: '' })
    })
  }
})

test('the reminder of the README rings although it is killed within the half second', async () => {
  const { name } = examples[0]!
  const cwd = project.place()
  const first = await runNode(project.scriptOf(name), [], { cwd })
  await first.lines.next()
  first.kill('SIGKILL')
  await first.exited
  expect(project.run(name, cwd).lines).toEqual(['it will ring', 'it rang'])
})

test('the charts in docs are those of the code', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/docs.mjs', '--check'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})
