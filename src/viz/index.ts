/** `holdfast/viz`: machines as text that other tools draw. */
export { toMermaid } from './mermaid.js'
export { toSvg } from './svg.js'
export { toXStateJson, type XStateJson } from './xstate-json.js'
