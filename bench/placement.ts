/** How many shards move when a node comes, against the least that equal loads allow. */
import { placementOf } from './internals.js'
import type { Figure } from './figure.js'

const shards = 256

export function placementMoves(nodes: number): () => Promise<Figure> {
  let round = 0
  return () =>
    Promise.resolve({
      figure: `placement.moves.${nodes}`,
      what: `shards of ${shards} that move when a node comes to ${nodes - 1}`,
      unit: 'shards',
      ours: {
        name: 'moved',
        run: () => {
          const names = Array.from({ length: nodes }, (_, i) => `r${round}-n${i}`)
          round++
          const [before, after] = [placementOf(names.slice(0, -1), shards), placementOf(names, shards)]
          return after.filter((node, shard) => node !== before[shard]).length
        },
      },
      against: [{ name: 'the least', run: () => Math.floor(shards / nodes) }],
    })
}
