/**
 * Which node is to own which shard: rendezvous hashing with equal loads. Every node computes the same from the same list
 * of nodes, whoever asks; when a node comes or goes, few shards move that need not (bench: `placement.moves`).
 *
 * Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998), for the scores; the bound on loads as
 * in Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads" (2018), with the tightest bound there
 * is: no two nodes differ by more than one shard.
 */
import { hash32 } from './identity.js'

/** @returns the node of each shard, by number; empty if there are no nodes */
export function placementOf(nodes: readonly string[], shards: number): readonly string[] {
  if (nodes.length === 0) return []
  const pairs: { readonly node: string; readonly shard: number; readonly score: number }[] = []
  for (const node of nodes) {
    for (let shard = 0; shard < shards; shard++) pairs.push({ node, shard, score: scoreOf(node, shard) })
  }
  pairs.sort((a, b) => b.score - a.score || (a.node < b.node ? -1 : a.node > b.node ? 1 : a.shard - b.shard))
  const least = Math.floor(shards / nodes.length)
  let withOneMore = shards % nodes.length
  const loads = new Map<string, number>()
  const placed: string[] = []
  let left = shards
  for (const { node, shard } of pairs) {
    if (left === 0) break
    if (placed[shard] !== undefined) continue
    const load = loads.get(node) ?? 0
    if (load > least || (load === least && withOneMore === 0)) continue
    if (load === least) withOneMore--
    loads.set(node, load + 1)
    placed[shard] = node
    left--
  }
  return placed
}

/** Well mixed: FNV alone leaves names that differ at the end close together. */
function scoreOf(node: string, shard: number): number {
  let hash = hash32(`${shard}/${node}`)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
