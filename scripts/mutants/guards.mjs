// Mutants of the named guards of the charts: each always true, always false, and inverted.
import { readdirSync, readFileSync } from 'node:fs'
import { parseAst } from 'rolldown/parseAst'

const folder = 'src/machines'
const testsOf = {
  'agent.machine.ts': ['test/machines/agent.property.test.ts', 'test/mesh/verification.test.ts', 'test/mesh/persons.test.ts', 'test/mesh/run.test.ts', 'test/mesh/user-code.test.ts'],
  'call.machine.ts': ['test/machines/call.property.test.ts', 'test/mesh/run.test.ts'],
  'circuit-breaker.machine.ts': ['test/mesh/breaker.property.test.ts'],
  'fallback.machine.ts': ['test/mesh/fallback.property.test.ts', 'test/mesh/stops.test.ts'],
  'in-order.machine.ts': ['test/mesh/verification.test.ts'],
  'limiter.machine.ts': ['test/mesh/limiter.property.test.ts'],
  'person.machine.ts': ['test/mesh/verification.test.ts', 'test/mesh/persons.test.ts'],
  'policies.machine.ts': ['test/mesh/policies.test.ts'],
  'rederivation.machine.ts': ['test/mesh/verification.test.ts'],
  'run.machine.ts': ['test/mesh/run.test.ts', 'test/mesh/verification.test.ts', 'test/mesh/persons.test.ts', 'test/mesh/run-handle.test.ts', 'test/mesh/run.property.test.ts'],
  'source-check.machine.ts': ['test/mesh/verification.test.ts'],
  'supervisor.machine.ts': ['test/machines/supervisor-otp.test.ts', 'test/machines/supervisor.property.test.ts', 'test/mesh/run.test.ts'],
}

export function guardMutants() {
  return readdirSync(folder).flatMap((name) => mutantsIn(`${folder}/${name}`, testsOf[name]))
}

function mutantsIn(file, tests) {
  const text = readFileSync(file, 'utf8')
  const guards = []
  visit(parseAst(text, { lang: 'ts' }), (node) => {
    if (node.type === 'Property' && nameOf(node) === 'guards' && node.value.type === 'ObjectExpression') guards.push(...definitionsIn(node.value))
    // Such as make the guards of a chart.
    if (node.type === 'FunctionDeclaration' && node.id?.name.endsWith('Guards')) visit(node.body, (inner) => inner.type === 'ReturnStatement' && inner.argument?.type === 'ObjectExpression' && guards.push(...definitionsIn(inner.argument)))
  })
  if (guards.length > 0 && !tests) throw new Error(`${file} has guards: name its tests in scripts/mutants/guards.mjs`)
  return guards.flatMap(({ name, value }) => {
    const own = text.slice(value.start, value.end)
    const line = text.slice(0, value.start).split('\n').length
    const mutants = [
      ['is always so', '() => true'],
      ['is never so', '() => false'],
      ['is inverted', `(...given: unknown[]) => !((${own}) as (...all: unknown[]) => boolean)(...given)`],
    ]
    return mutants
      .filter(([, by]) => by !== own)
      .map(([what, by]) => ({ file, line, original: `${name}: ${own.split('\n')[0]}`, what, tests: [...tests, 'test/machines/charts.test.ts'].map((test) => ({ file: test })), text: text.slice(0, value.start) + by + text.slice(value.end) }))
  })
}

function definitionsIn(object) {
  return object.properties.filter((property) => property.type === 'Property' && /Function/.test(property.value.type)).map((property) => ({ name: nameOf(property), value: property.value }))
}

function nameOf({ key }) {
  return key.name ?? key.value
}

function visit(node, each) {
  if (!node || typeof node !== 'object') return
  if (Array.isArray(node)) return node.forEach((one) => visit(one, each))
  if (typeof node.type === 'string') each(node)
  for (const [name, value] of Object.entries(node)) if (name !== 'parent') visit(value, each)
}
