// Mutants of the Lua scripts: each check forced to either outcome, each operand of it left out, each comparison moved by
// one, and each write left out. Random commands notice most of them, see test/support/lua-mutants.script.ts; the tests here look at the rest.
import { readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'

const folder = 'src/adapters/redis'
const contract = { file: 'test/contracts/redis.test.ts', name: 'the store contract on Redis (?!where|Cluster)' }
const adapter = { file: 'test/adapters/redis.test.ts' }
/** What only these look at. */
const more = { beat: ['test/adapters/redis-rollback.test.ts'], halt: ['test/adapters/redis-rollback.test.ts'], fill: ['test/runtime/move.test.ts'], mark: ['test/runtime/move.test.ts'], seal: ['test/runtime/move.test.ts'], unseal: ['test/runtime/move.test.ts'] }

export function luaMutants() {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.lua'))
    .flatMap((name) => mutantsIn(`${folder}/${name}`))
}

function mutantsIn(file) {
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines.flatMap((line, i) => {
    if (/^\s*--/.test(line)) return []
    return changesOf(line).map(({ what, changed }) => ({ file, line: i + 1, original: line.trim(), what, tests: [adapter, contract, ...(more[basename(file, '.lua')] ?? []).map((test) => ({ file: test }))], text: lines.with(i, changed).join('\n') }))
  })
}

function changesOf(line) {
  const found = []
  const add = (what, from, length, by) => found.push({ what, changed: line.slice(0, from) + by + line.slice(from + length) })
  for (const match of line.matchAll(/\b(?:if|elseif)\s+(.+?)\s+then\b/dg)) condition(add, match[1], match.indices[1][0])
  // A check that a function answers with.
  const returned = /^(?:.*\s)?return\s+([^{}'"]*(?:==|~=|[<>]=?|\band\b|\bor\b)[^{}'"]*?)(?:\s+end)?,?$/d.exec(line)
  if (returned) condition(add, returned[1], returned.indices[1][0])
  const write = /^(\s*)((?:redis\.call|each)\('(?:HSET|HDEL|ZADD|ZREM|ZREMRANGEBYSCORE|SADD|SREM|RPUSH|LTRIM|XADD|XDEL|XTRIM|XSETID|UNLINK|HINCRBY|PUBLISH)'.*)$/.exec(line)
  if (write && balance(write[2]) === 0 && !/\bPROBE\b/.test(line)) found.push({ what: 'is left out', changed: `${write[1]}do end` })
  return found
}

function condition(add, text, at) {
  add('is always so', at, text.length, 'true')
  add('is never so', at, text.length, 'false')
  for (const operator of [' and ', ' or ']) {
    const operands = split(text, operator)
    if (operands.length < 2) continue
    for (const { from, length } of operands) add(`without «${text.slice(from, from + length)}»`, at + from, length, operator === ' and ' ? 'true' : 'false')
    break
  }
  for (const match of text.matchAll(/ (<=?|>=?) /g)) {
    const by = match[1].endsWith('=') ? match[1][0] : `${match[1]}=`
    add(`with ${by} for ${match[1]}`, at + match.index + 1, match[1].length, by)
  }
}

/** The parts of a text between an operator that no parenthesis holds. */
function split(text, operator) {
  const parts = []
  let depth = 0
  let from = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++
    if (text[i] === ')') depth--
    if (depth !== 0 || !text.startsWith(operator, i)) continue
    parts.push({ from, length: i - from })
    from = i + operator.length
  }
  parts.push({ from, length: text.length - from })
  return parts
}

function balance(text) {
  return [...text].reduce((sum, char) => sum + (char === '(' ? 1 : char === ')' ? -1 : 0), 0)
}
