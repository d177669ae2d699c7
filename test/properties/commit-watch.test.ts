/** That what watches the simulation sees each thing that must not be. */
import { expect, test } from 'vitest'
import type { Commit, Part } from '../../src/runtime/ports/store.js'
import { emptyPart } from '../../src/testing/store-contract.js'
import { CommitWatch } from '../support/commit-watch.js'

const claim = (epoch: number, node: string, number = 0) => ({ lease: { shard: 0, epoch, node }, state: { number, position: 0, tail: 9, clock: 0, clean: true } })
const commit = (number: number, more: Partial<Commit> = {}, part: Partial<Part> = {}): Commit => ({ lease: { shard: 0, epoch: 1, node: 'a' }, number, position: 0, at: 100, parts: [{ ...emptyPart('m/a'), ...part }], accepted: [], confirmed: [], delivered: [], suspects: new Map(), ...more })

function violations(...writes: readonly (readonly [what: unknown, at?: number])[]): readonly string[] {
  const watch = new CommitWatch()
  watch.saw({ index: 0, kind: 'claim' }, claim(1, 'a'))
  for (const [what, at = 100] of writes) {
    if ('number' in (what as object)) watch.saw({ index: 0, kind: 'commit', commit: what as Commit }, { ok: true, at, tail: 9 })
    else watch.saw({ index: 0, kind: 'claim' }, what)
  }
  return watch.violations.map((text) => text.slice(0, 2))
}

test('each kind of violation is seen, and nothing where there is none', () => {
  const timer = (due: number | undefined): Partial<Part> => ({ timers: new Map([['t', due]]) })
  expect(violations([commit(1, { position: 2 }, timer(150))], [commit(1)], [claim(2, 'b', 1)], [commit(2, { lease: { shard: 0, epoch: 2, node: 'b' }, position: 2, at: 150 }, timer(undefined)), 150])).toEqual([])
  expect(violations([claim(2, 'b')], [commit(1)])).toEqual(['I2'])
  expect(violations([commit(1, { lease: { shard: 0, epoch: 1, node: 'b' } })])).toEqual(['I2'])
  expect(violations([claim(1, 'b')])).toEqual(['I2'])
  expect(violations([commit(2)])).toEqual(['I3'])
  expect(violations([commit(1)], [claim(2, 'b', 0)])).toEqual(['I3'])
  expect(violations([commit(1, { position: 4 })], [commit(2, { position: 3 })])).toEqual(['I1'])
  expect(violations([commit(1), 200], [commit(2), 199])).toEqual(['I6'])
  expect(violations([commit(1, {}, timer(150))], [commit(2, { at: 149 }, timer(undefined)), 150])).toEqual(['I6'])
  expect(violations([commit(1, {}, timer(90))], [commit(2, {}, timer(undefined))], [commit(3, {}, timer(undefined))])).toEqual(['I6'])
})
