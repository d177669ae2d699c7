// What became of the mutants, as docs/mutants.md.

/** @returns {{ text: string, unexplained: object[], missing: number }} */
export function report({ lua, guards, stryker }, ledger, { digest, commit, machine, explained }) {
  const unexplained = []
  const told = []
  let missing = 0
  const judge = (mutant) => {
    const why = explained.find((one) => one.file === mutant.file && mutant.original.includes(one.original) && mutant.what.startsWith(one.what))?.why
    if (why === undefined) unexplained.push(mutant)
    told.push(`| ${mutant.file}:${mutant.line} | ${cell(mutant.original)} | ${cell(mutant.what)} | ${why ?? '**not explained**'} |`)
    return why !== undefined
  }
  const tableOf = (mutants) => {
    const rows = []
    for (const file of [...new Set(mutants.map((mutant) => mutant.file))].sort()) {
      const own = mutants.filter((mutant) => mutant.file === file)
      const fates = own.map((mutant) => ({ mutant, fate: ledger.mutants[mutant.key] })).filter(({ fate }) => fate?.digest === digest(file))
      const isNoticed = ({ fate }) => fate.state !== 'survived'
      const noticed = fates.filter(isNoticed)
      const survivors = fates.filter((one) => !isNoticed(one)).map(({ mutant }) => mutant)
      const seeds = noticed.map(({ fate }) => fate.seed).filter((seed) => seed !== undefined).sort((a, b) => a - b)
      const judged = survivors.filter(judge).length
      missing += own.length - fates.length
      rows.push({ file, looked: fates.length, all: own.length, noticed: noticed.length, explained: judged, left: survivors.length - judged, seeds })
    }
    return rows
  }
  const header = '| file | mutants | noticed | explained | not | by random sequences, seeds needed: median, most |\n|---|---|---|---|---|---|\n'
  const lineOf = ({ file, looked, all, noticed, explained: how, left, seeds }) => `| ${file} | ${looked === all ? all : `${looked} of ${all}`} | ${noticed} | ${how} | ${left} | ${seeds.length === 0 ? '' : `${seeds.length}: ${seeds[Math.floor(seeds.length / 2)]}, ${seeds.at(-1)}`} |`
  const total = (rows) => {
    const sum = (of) => rows.reduce((all, row) => all + of(row), 0)
    return `**${sum((row) => row.noticed)} of ${sum((row) => row.looked)} noticed (${share(sum((row) => row.noticed), sum((row) => row.looked))}), ${sum((row) => row.explained)} explained, ${sum((row) => row.left)} not.**`
  }
  const [ofLua, ofGuards] = [tableOf(lua), tableOf(guards)]
  const ofStryker = stryker.map((file) => {
    const found = ledger.stryker[file]
    if (found?.digest !== digest(file)) {
      missing++
      return `| ${file} | not looked at | | | |`
    }
    const { killed, endless, survivors } = found
    const judged = survivors.filter((mutant) => judge({ ...mutant, file })).length
    const all = killed + endless + survivors.length
    return `| ${file} | ${all} | ${killed + endless} (${share(killed + endless, all)}) | ${judged} | ${survivors.length - judged} |`
  })
  const text = `# Mutants, as they last ran

\`npm run mutants\`, on commit ${commit}, ${new Date().toISOString().slice(0, 10)}, ${machine}. Each is one change of the source, in a copy of it; the tests that should
notice run, quickest first, until one fails. \`--only lua\`, \`guards\` or \`stryker\` runs a part, \`--files\` names files, \`--minutes\` bounds it; it goes on where
it stopped. A mutant that survives is killed by a new test or explained below.

## Checks and writes of the Redis scripts

Each check always so, never so, without each of its operands, and with its comparisons moved by one; each write left out. Tests: random commands compared
with the store in memory (seeds 1 to 40), the store contract, and the tests of the adapter. ${total(ofLua)}

${header}${ofLua.map(lineOf).join('\n')}

## Named guards of the charts

Each always so, never so, and inverted. Tests: those of the machine, and the walk over all charts. ${total(ofGuards)}

${header}${ofGuards.map(lineOf).join('\n')}

## Stryker

Each file with the tests named in scripts/mutants/stryker.mjs alone.

| file | mutants | noticed | explained | not |
|---|---|---|---|---|
${ofStryker.join('\n')}

## Survivors

| where | what stood there | what became of it | why no test can notice, or need not |
|---|---|---|---|
${told.join('\n')}
`
  return { text, unexplained, missing }
}

function cell(text) {
  const code = text.replaceAll('|', '\\|').replaceAll('`', '´')
  return `\`${code.length > 140 ? `${code.slice(0, 140)}…` : code}\``
}

function share(part, all) {
  return all === 0 ? '–' : `${((100 * part) / all).toFixed(1)} %`
}
