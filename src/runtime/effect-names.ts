/** How effects and actions are named in keys and records: by the way from the root down to them. */
import { InvalidIdError } from '../errors.js'
import { EFFECT, type EffectDeclaration } from '../protocol.js'
import type { Cell } from './xstate/refs.js'

/** The ids from the root's child down to the cell: how an effect is named in keys. */
export function idPath(cell: Cell): string {
  let path = encodeURIComponent(cell.id)
  for (let parent = cell._parent; parent && parent.number !== 0; parent = parent._parent) path = `${encodeURIComponent(parent.id)}/${path}`
  return path
}

/** What the cell and its parents run, from the root's child down. */
export function srcPath(cell: Cell): string[] {
  return cell.number === 0 ? [] : [...srcPath(cell._parent!), cell.src as string]
}

/** An external action's part of its idempotency key: the name that it gives itself, else the id path of its invoke. */
export function actionNameOf(cell: Cell): string {
  const given = (cell.logic as { [EFFECT]?: EffectDeclaration })[EFFECT]?.name?.(cell._snapshot.input as never)
  if (given === undefined) return idPath(cell)
  if (typeof given === 'string' && /^[A-Za-z0-9._:-]{1,256}(?:\/[1-9][0-9]{0,8})?$/.test(given)) return given
  throw new InvalidIdError('name of an external action', given, 'use 1 to 256 of A-Z a-z 0-9 . _ : -, and /2 and so on behind it where it is done again')
}

export function isExternal(cell: Cell): boolean {
  return (cell.logic as { [EFFECT]?: EffectDeclaration })[EFFECT]?.kind === 'external'
}
