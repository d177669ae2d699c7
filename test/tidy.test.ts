/** What holds over all of the code, checked as code. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as api from '../src/index.js'

function files(folder: string, ending = '.ts'): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? files(path, ending) : path.endsWith(ending) ? [path] : []
  })
}

const sources = files('src').map((path) => ({ path, text: readFileSync(path, 'utf8') }))

// ── Layers ──

describe('the layering check', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-layers-'))
    cpSync('.oxlintrc.json', join(folder, '.oxlintrc.json'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  /** Lints one file that holds one import. */
  function lint(path: string, imported: string): string {
    const file = join(folder, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, `import { x } from '${imported}'\nexport const y = x\n`)
    const { stdout } = spawnSync(process.execPath, ['node_modules/oxlint/bin/oxlint', '--config', join(folder, '.oxlintrc.json'), file], { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } })
    rmSync(file)
    return stdout
  }

  const planted: readonly [path: string, imported: string][] = [
    ['src/machines/a.machine.ts', '../runtime/shard.js'],
    ['src/machines/a.machine.ts', '../mesh/prices.js'],
    ['src/machines/a.machine.ts', 'node:fs'],
    ['src/runtime/a.ts', '../mesh/mesh.js'],
    ['src/runtime/a.ts', '../machines/agent.machine.js'],
    ['src/runtime/a.ts', '../adapters/memory/index.js'],
    ['src/mesh/a.ts', '../adapters/redis/index.js'],
    ['src/mesh/a.ts', '../cli/main.js'],
    ['src/adapters/redis/a.ts', '../../runtime/shard.js'],
    ['src/adapters/redis/a.ts', '../../mesh/mesh.js'],
    ['src/adapters/redis/a.ts', '../lmdb/keys.js'],
    ['src/adapters/redis/a.ts', '../inspect/message.js'],
    ['src/adapters/anthropic/a.ts', '../ai-sdk/failures.js'],
    ['src/adapters/redis/a.ts', '../http/key.js'],
    ['src/adapters/ai-sdk/a.ts', '../mcp/mcp-tools.js'],
    ['src/adapters/inspect/a.ts', '../../runtime/inspection.js'],
    ['src/adapters/anthropic/a.ts', '../../machines/agent.machine.js'],
    ['src/viz/a.ts', '../runtime/shard.js'],
  ]
  test.each(planted)('fails on %s that imports %s', (path, imported) => {
    expect(lint(path, imported)).toContain('ARCHITECTURE.md, layers')
  })

  const allowed: readonly [path: string, imported: string][] = [
    ['src/machines/a.machine.ts', '../protocol.js'],
    ['src/machines/a.machine.ts', './ledger.js'],
    ['src/runtime/a.ts', './ports/store.js'],
    ['src/mesh/a.ts', '../machines/agent.machine.js'],
    ['src/mesh/a.ts', '../runtime/system.js'],
    ['src/adapters/redis/a.ts', '../../runtime/ports/store.js'],
    ['src/adapters/jsonl/a.ts', '../../mesh/ports/trace-store.js'],
    ['src/cli/a.ts', '../adapters/lmdb/index.js'],
  ]
  test.each(allowed)('lets %s import %s', (path, imported) => {
    expect(lint(path, imported)).not.toContain('layers')
  })
})

// ── Time, chance, leftovers ──

test('time and chance come through ports in charts, runtime and mesh', () => {
  const direct = sources.filter(({ path, text }) => /^src\/(?:machines|runtime|mesh)\//.test(path) && !path.includes('/ports/') && /\b(?:Date\.now\(|new Date\(|Math\.random\(|randomUUID\(|performance\.now\(|setTimeout\(|setInterval\()/.test(text))
  expect(direct.map(({ path }) => path)).toEqual([])
})

test('no signal ends by what a garbage collection can take away (src/cli/own-signal.ts says why)', () => {
  expect(sources.filter(({ text }) => /\bAbortSignal\.(?:any|timeout)\(/.test(text)).map(({ path }) => path)).toEqual([])
})

test('nothing is left to do in the code', () => {
  const left = [...sources, ...files('test').map((path) => ({ path, text: readFileSync(path, 'utf8') }))].filter(({ path, text }) => path !== 'test/tidy.test.ts' && /\b(?:TODO|FIXME|XXX|HACK)\b|\bnot implemented\b|\.(?:skip|only)\(|\btest\.todo\b/.test(text))
  expect(left.map(({ path }) => path)).toEqual([])
})

test('every module says what it is for', () => {
  const mute = sources.filter(({ text }) => !/^(?:#!.*\n)?\/\*\*/.test(text))
  expect(mute.map(({ path }) => path)).toEqual([])
})

test('docs/errors.md has every code of an error, and no other', () => {
  const documented = [...readFileSync('docs/errors.md', 'utf8').matchAll(/^\| `([A-Z_]+)`/gm)].map(([, code]) => code!)
  const codes = new Set(sources.flatMap(({ text }) => [...text.matchAll(/(?:(?:super|new HoldfastError)\(\s*|readonly code = )'([A-Z_]+)'/g)].map(([, code]) => code!)))
  expect([...codes].sort()).toEqual(documented.sort())
})

test('what the package exports is what is listed here', () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot(`
    [
      "ActorEndedError",
      "ActorExistsError",
      "ActorFailedError",
      "ActorHandle",
      "ActorNotStartedError",
      "ActorSystem",
      "CancelledError",
      "ConfigError",
      "DeadlineError",
      "HoldfastError",
      "InvalidEventError",
      "InvalidIdError",
      "LimitError",
      "MailboxFullError",
      "Mesh",
      "ModelError",
      "MoveError",
      "NonJsonError",
      "RunHandle",
      "SnapshotError",
      "StoppedError",
      "StoreError",
      "ToolError",
      "Toolbox",
      "TurnError",
      "UnknownMachineError",
      "WindowError",
      "agentMachine",
      "allotmentMachine",
      "append",
      "atMostOnce",
      "budgetMachine",
      "callMachine",
      "cancelMove",
      "circuitBreakerMachine",
      "closeGrant",
      "createActorSystem",
      "createClient",
      "createMesh",
      "defaultBackoff",
      "defaultBreaker",
      "defaultCallPolicy",
      "defaultLimit",
      "defaultPrices",
      "defaultSupervisorOptions",
      "defineAgent",
      "defineRun",
      "durableChild",
      "external",
      "free",
      "fromAsk",
      "grant",
      "isBalanced",
      "isHoldfastError",
      "isOutcomeUnknown",
      "isQuoted",
      "limiterMachine",
      "modelOf",
      "moveNamespace",
      "nothing",
      "openLedger",
      "passes",
      "pinsOf",
      "refTo",
      "reopenMoved",
      "repeatable",
      "replay",
      "reply",
      "reserve",
      "restartDurableChild",
      "runMachine",
      "sendToDurableChild",
      "settle",
      "showTokens",
      "stopDurableChild",
      "supervisorMachine",
      "tokenStreamMachine",
      "toolLoopMachine",
    ]
  `)
})
