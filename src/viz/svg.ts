/**
 * A machine as an SVG picture, laid out by ELK without a browser or a network. It shows what the machine has: states
 * with what they invoke and do, and what they are for where a pointer rests on them; and each transition with its event,
 * guard, actions and description. An event that changes no state stands inside its state, as in UML.
 */
import type { ELK, ElkExtendedEdge, ElkNode } from 'elkjs/lib/elk-api.js'
import type { AnyStateMachine } from 'xstate'
import { actionText, defaultOf, linesOf, nodesOf, rootOf, textOf, transitionsOf, wordsOf, type ChartNode } from './chart.js'

const fontPx = 12
const charPx = 7.25
const linePx = 16
const padPx = 10

interface Box extends ElkNode {
  readonly node?: ChartNode
  /** The first is the name. */
  readonly lines?: readonly string[]
  readonly isDot?: true
  children?: Box[]
}

interface Arrow extends ElkExtendedEdge {
  readonly lines: readonly string[]
}

/**
 * The text of an SVG document. The same machine gives the same text.
 *
 * @throws Error if elkjs is not installed
 */
export async function toSvg(machine: AnyStateMachine): Promise<string> {
  const { default: Elk } = (await import('elkjs/lib/elk.bundled.js')) as unknown as { default: new () => ELK }
  const root = rootOf(machine)
  const nodes = nodesOf(root)
  const graph: Box = {
    id: '',
    layoutOptions: {
      'elk.algorithm': 'layered',
      'elk.direction': 'DOWN',
      'elk.hierarchyHandling': 'INCLUDE_CHILDREN',
      'elk.edgeLabels.inline': 'true',
      'elk.layered.spacing.nodeNodeBetweenLayers': '28',
      'elk.spacing.nodeNode': '28',
      'elk.spacing.edgeNode': '14',
      'elk.json.shapeCoords': 'ROOT',
      'elk.json.edgeCoords': 'ROOT',
    },
    children: [boxOf(root)],
    edges: nodes.flatMap(arrowsOf),
  }
  return draw((await new Elk().layout(graph)) as Box, machine.id)
}

// ── What is laid out ──

function boxOf(node: ChartNode): Box {
  const lines = [node.key + (node.tags.length > 0 ? `  #${node.tags.join(' #')}` : ''), ...linesOf(node)]
  const children = Object.values(node.states).map(boxOf)
  if (node.type === 'history') return { id: node.id, node, lines: [node.history === 'deep' ? 'H*' : 'H'], width: 26, height: 26 }
  const width = Math.max(...lines.map(widthOf)) + 2 * padPx
  const height = lines.length * linePx + padPx
  if (children.length === 0) return { id: node.id, node, lines, width: Math.max(width, 60), height }
  const initial: Box[] = node.type === 'compound' && node.initial?.target?.length ? [{ id: `${node.id}/initial`, isDot: true, width: 10, height: 10 }] : []
  return {
    id: node.id,
    node,
    lines,
    children: [...initial, ...children],
    // Makes the box as wide as its lines; the padding makes it high enough.
    labels: [{ text: lines[0]!, width, height: 1 }],
    layoutOptions: { 'elk.padding': `[top=${height + padPx},left=${padPx},bottom=${padPx},right=${padPx}]`, 'elk.nodeLabels.placement': 'INSIDE H_LEFT V_TOP', 'elk.nodeLabels.padding': '[top=0,left=0,bottom=0,right=0]', 'elk.nodeSize.constraints': 'NODE_LABELS' },
  }
}

/** One arrow from a state to another, with a line for each transition. */
function arrowsOf(node: ChartNode): Arrow[] {
  const lines = new Map<ChartNode, string[]>()
  for (const transition of transitionsOf(node)) {
    for (const target of transition.target ?? []) lines.set(target, [...(lines.get(target) ?? []), textOf(transition, node), ...wordsOf(transition)])
  }
  const arrows = [...lines].map(([target, texts]) => arrowOf(node.id, target, texts))
  const { actions = [], description } = node.initial ?? {}
  const initial = [...(actions.length > 0 ? [`/ ${actions.map(actionText).join(', ')}`] : []), ...wordsOf({ description })]
  for (const target of node.type === 'parallel' ? [] : (node.initial?.target ?? [])) arrows.push(arrowOf(`${node.id}/initial`, target, initial))
  for (const target of defaultOf(node)) arrows.push(arrowOf(node.id, target, ['by default']))
  return arrows
}

function arrowOf(source: string, target: ChartNode, lines: readonly string[]): Arrow {
  const label = lines.length === 0 ? {} : { labels: [{ text: lines.join('\n'), width: Math.max(...lines.map(widthOf)) + 8, height: lines.length * linePx }] }
  return { id: `${source}→${target.id}`, sources: [source], targets: [target.id], lines, ...label }
}

function widthOf(text: string): number {
  return text.length * charPx
}

// ── What is drawn ──

function draw(graph: Box, title: string): string {
  const boxes: string[] = []
  const visit = (box: Box): void => {
    boxes.push(box.isDot ? dot(box) : frame(box))
    box.children?.forEach(visit)
  }
  graph.children?.forEach(visit)
  const arrows = (graph.edges ?? []).map((edge) => arrow(edge as Arrow))
  const [width, height] = [Math.ceil(graph.width ?? 0), Math.ceil(graph.height ?? 0)]
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">
<title>${escaped(title)}</title>
<style>
  text { font: ${fontPx}px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2430; white-space: pre }
  .name { font-weight: 600 } .label { fill: #3d4a63 } .plate { fill: #fff; fill-opacity: .85 }
  .state { fill: #fff; stroke: #5b6b86; stroke-width: 1.2 } .group { fill: #5b6b86; fill-opacity: .05 } .region { stroke-dasharray: 5 4 }
  .edge { fill: none; stroke: #8492ab; stroke-width: 1.2; marker-end: url(#head) } .dot { fill: #1f2430 }
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#8492ab"/></marker></defs>
<rect width="100%" height="100%" fill="#fff"/>
${[...boxes, ...arrows].join('\n')}
</svg>
`
}

function frame({ node, lines = [], x = 0, y = 0, width = 0, height = 0, children }: Box): string {
  const isRegion = node?.parent?.type === 'parallel'
  const classes = ['state', ...(children ? ['group'] : []), ...(isRegion ? ['region'] : [])].join(' ')
  const round = node?.type === 'history' ? 13 : 8
  const description = node?.description === undefined ? '' : `<title>${escaped(node.description)}</title>`
  const inner = node?.type === 'final' ? `<rect class="state" x="${at(x + 3)}" y="${at(y + 3)}" width="${at(width - 6)}" height="${at(height - 6)}" rx="6"/>` : ''
  const texts = lines.map((line, i) => `<text${i === 0 ? ' class="name"' : ''} x="${at(x + padPx)}" y="${at(y + padPx / 2 + fontPx + i * linePx)}">${escaped(line)}</text>`)
  return `<g id="${escaped(node?.id ?? '')}">${description}<rect class="${classes}" x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" rx="${round}"/>${inner}${texts.join('')}</g>`
}

function dot({ x = 0, y = 0 }: Box): string {
  return `<circle class="dot" cx="${at(x + 5)}" cy="${at(y + 5)}" r="5"/>`
}

function arrow({ sections = [], lines, labels = [] }: Arrow): string {
  const paths = sections.map(({ startPoint, bendPoints = [], endPoint }) => {
    const points = [startPoint, ...bendPoints, endPoint].map(({ x, y }) => `${at(x)},${at(y)}`)
    return `<path class="edge" d="M${points.join(' L')}"/>`
  })
  const texts = labels.map(({ x = 0, y = 0, width = 0, height = 0 }) => `<rect class="plate" x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}"/>${lines.map((line, i) => `<text class="label" x="${at(x + 4)}" y="${at(y + fontPx + i * linePx)}">${escaped(line)}</text>`).join('')}`)
  return `<g>${paths.join('')}${texts.join('')}</g>`
}

function at(value: number): string {
  return String(Math.round(value * 10) / 10)
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
