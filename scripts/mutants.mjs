// Mutants: each check of the Lua scripts and each named guard of the charts is changed, one at a time, and the tests that
// should notice are run, quickest first, until one does; and Stryker goes over files of src/runtime and src/machines. What
// was found goes to docs/mutants.md. Exits with 1 if a mutant survives that scripts/mutants/explained.json does not explain.
//
//   npm run mutants -- [--only lua|guards|stryker] [--files part,of,names] [--minutes 60] [--workers 2] [--new | --anew]
//
// What it has found it keeps in coverage/mutants.json and does not look for again, unless the file has changed or, without
// --new, the mutant survived: stop it whenever you like. --anew begins from nothing.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { guardMutants } from './mutants/guards.mjs'
import { luaMutants } from './mutants/lua.mjs'
import { report } from './mutants/report.mjs'
import { strykerFiles, strykerOn } from './mutants/stryker.mjs'
import { Workplace } from './mutants/workplace.mjs'
import { commit, machine, provide } from './tests.mjs'

const ledgerFile = 'coverage/mutants.json'
const { values } = parseArgs({ options: { only: { type: 'string' }, files: { type: 'string' }, minutes: { type: 'string' }, workers: { type: 'string' }, new: { type: 'boolean' }, anew: { type: 'boolean' } } })
provide()
const until = performance.now() + Number(values.minutes ?? Infinity) * 60_000
/** By part of the file's name, or of what a mutant changes. */
const isWanted = (kind, file) => (values.only === undefined || values.only === kind) && (values.files === undefined || values.files.split(',').some((part) => file.includes(part)))
const ledger = existsSync(ledgerFile) ? JSON.parse(readFileSync(ledgerFile, 'utf8')) : { mutants: {}, stryker: {} }
const keep = () => {
  mkdirSync('coverage', { recursive: true })
  writeFileSync(ledgerFile, JSON.stringify(ledger, undefined, 1))
}
/** A mutant is looked for anew when its file has changed. */
const digest = (file) => createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 16)

const workplaces = Array.from({ length: Number(values.workers ?? 2) }, () => new Workplace())
const end = () => workplaces.forEach((workplace) => workplace.dispose())
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    end()
    process.exit(130)
  })
}

try {
  await mutants()
  await stryker()
} finally {
  end()
}
const all = { lua: named(luaMutants()), guards: named(guardMutants()), stryker: Object.keys(strykerFiles) }
const { text, unexplained, missing } = report(all, ledger, { digest, commit: commit(), machine: machine(), explained: JSON.parse(readFileSync('scripts/mutants/explained.json', 'utf8')) })
writeFileSync('docs/mutants.md', text)
for (const { file, line, original, what } of unexplained) console.log(`survived: ${file}:${line} ${original}\n          ${what}`)
console.log(`\n${unexplained.length} unexplained survivors, ${missing} mutants or files not looked at yet`)
process.exitCode = unexplained.length > 0 ? 1 : 0

// ── Scripts and guards ──

/** With a name that stays as long as the mutant does. */
function named(found) {
  const seen = new Map()
  return found.map((mutant) => {
    const name = `${mutant.file} | ${mutant.original} | ${mutant.what}`
    const nth = (seen.get(name) ?? 0) + 1
    seen.set(name, nth)
    return { ...mutant, key: nth === 1 ? name : `${name} (${nth})` }
  })
}

async function mutants() {
  const waiting = [...named(guardMutants()).filter(({ key }) => isWanted('guards', key)), ...named(luaMutants()).filter(({ key }) => isWanted('lua', key))].filter(({ key, file }) => {
    const known = ledger.mutants[key]
    return values.anew || !known || known.digest !== digest(file) || (known.state === 'survived' && !values.new)
  })
  console.log(`${waiting.length} mutants of scripts and guards`)
  await randomCommands(waiting)
  const sound = new Map()
  /** A test that fails without a mutant kills nothing. */
  const isSound = (workplace, test) => {
    const key = JSON.stringify(test)
    if (!sound.has(key)) sound.set(key, workplace.test(test).then(({ ok, said }) => ok || Promise.reject(new Error(`${test.file} fails without any mutant:\n${said.slice(-3_000)}`))))
    return sound.get(key)
  }
  const work = async (workplace) => {
    for (let mutant = waiting.shift(); mutant && performance.now() < until; mutant = waiting.shift()) {
      ledger.mutants[mutant.key] = { digest: digest(mutant.file), ...(await fateOf(mutant, workplace, isSound)) }
      const { state, by } = ledger.mutants[mutant.key]
      console.log(`${state}${by ? ` by ${by}` : ''}: ${mutant.file}:${mutant.line} ${mutant.what}   [${waiting.length} to go]`)
      keep()
    }
  }
  await Promise.all(workplaces.map(work))
}

/** The mutants of scripts that random commands notice are taken out of the line. */
async function randomCommands(waiting) {
  const ofLua = waiting.filter(({ file }) => file.endsWith('.lua'))
  if (ofLua.length === 0) return
  const model = 'test/support/lua-mutants.script.ts'
  let met = 0
  await Promise.all(
    workplaces.map(async (workplace, i) => {
      const list = join(workplace.folder, 'mutants.json')
      const own = ofLua.filter((_, place) => place % workplaces.length === i).filter(({ key, file }) => values.anew || ledger.met?.[key] !== digest(file))
      if (own.length === 0) return
      writeFileSync(list, JSON.stringify(own.map(({ key, file, text }) => ({ key, file, text }))))
      const ending = workplace.run(['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', model], { HOLDFAST_MUTANTS: list }, Math.min(until - performance.now(), 7_000_000))
      const timer = setInterval(() => note(list), 5_000)
      const { ok, endless, said } = await ending
      clearInterval(timer)
      met += note(list)
      if (!ok && !endless) throw new Error(`${model} failed:\n${said.slice(-3_000)}`)
    }),
  )
  const noticed = waiting.filter(({ key }) => ledger.mutants[key]?.state === 'killed')
  console.log(`${met} mutants of scripts met random commands; ${noticed.length} were noticed`)
  waiting.splice(0, Infinity, ...waiting.filter((mutant) => !noticed.includes(mutant)))

  /** What has been found so far. */
  function note(list) {
    const found = existsSync(`${list}.found`) ? readFileSync(`${list}.found`, 'utf8').trim().split('\n').map((line) => JSON.parse(line)) : []
    for (const { key, seed } of found) {
      const { file } = ofLua.find((mutant) => mutant.key === key)
      ;(ledger.met ??= {})[key] = digest(file)
      if (seed !== undefined) ledger.mutants[key] = { digest: digest(file), state: 'killed', by: 'random commands', seed }
    }
    keep()
    return found.length
  }
}

async function fateOf({ file, text, tests }, workplace, isSound) {
  for (const test of tests) {
    await isSound(workplace, test)
    const undo = workplace.change(file, text)
    try {
      const { ok, endless } = await workplace.test(test)
      if (endless) return { state: 'endless', by: test.file }
      if (!ok) return { state: 'killed', by: test.file }
    } finally {
      undo()
    }
  }
  return { state: 'survived' }
}

// ── Stryker ──

async function stryker() {
  const waiting = Object.keys(strykerFiles).filter((file) => {
    const known = ledger.stryker[file]
    return isWanted('stryker', file) && (values.anew || !known || known.digest !== digest(file) || (known.survivors.length > 0 && !values.new))
  })
  const work = async (workplace) => {
    for (let file = waiting.shift(); file && performance.now() < until; file = waiting.shift()) {
      const found = await strykerOn(file, workplace, Math.min(until - performance.now(), 2 ** 31 - 1))
      if (!found) return console.log(`${file}: not done in time`)
      ledger.stryker[file] = { digest: digest(file), ...found }
      console.log(`${file}: ${found.killed} killed, ${found.endless} endless, ${found.survivors.length} survived`)
      keep()
    }
  }
  await Promise.all(workplaces.map(work))
}
