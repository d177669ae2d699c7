/** A mesh of the user's, out of a module of his. The module is run to get at it. */
import type { Mesh } from '../mesh/mesh.js'
import { UsageError } from './exit.js'
import { moduleIn } from './module-in.js'
import { printable } from './terminal.js'

/**
 * @param place the path of a JavaScript module that exports a mesh, started or not, with `#name` where it exports several
 * @throws UsageError that says what is wrong, and what there is
 */
export async function meshIn(place: string, { command, cwd }: { readonly command: string; readonly cwd: string }): Promise<Mesh> {
  const hash = place.lastIndexOf('#')
  const [path, name] = hash === -1 ? [place, undefined] : [place.slice(0, hash), place.slice(hash + 1)]
  const module = await moduleIn(path, { command, cwd, missing: `--mesh: there is no file "${printable(path)}".` })
  const meshes = Object.entries(module).filter((entry): entry is [string, Mesh] => isMesh(entry[1]))
  const names = meshes.map(([key]) => key)
  const found = name === undefined ? (new Set(meshes.map(([, mesh]) => mesh)).size === 1 ? meshes[0] : undefined) : meshes.find(([key]) => key === name)
  if (found) return found[1]
  if (names.length === 0) throw new UsageError(`${printable(path)} exports no mesh, as createMesh gives it.`, command)
  throw new UsageError(name === undefined ? `${printable(path)} exports ${names.join(', ')}. Say which: ${printable(path)}#${names[0]!}` : `${printable(path)} exports no mesh "${printable(name)}"; it exports ${names.join(', ')}.`, command)
}

/** Also one made by another copy of the package. */
function isMesh(value: unknown): boolean {
  const { policies, system } = (typeof value === 'object' && value !== null ? value : {}) as { policies?: { explain?: unknown }; system?: unknown }
  return typeof policies?.explain === 'function' && typeof system === 'object'
}
