/** `holdfast/inspect`: a live system in Stately's inspector protocol. */
export { createWebSocketInspector, type WebSocketInspector, type WebSocketInspectorOptions } from './web-socket-inspector.js'
export type { InspectionMessage, Redact } from './message.js'
