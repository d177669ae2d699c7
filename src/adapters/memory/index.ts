/** `holdfast/memory`: stores in memory, for tests. */
export { MemoryIdempotencyStore } from './memory-idempotency-store.js'
export { MemoryDatabase, MemoryStore, type MemoryStoreOptions } from './memory-store.js'
export { MemoryTraceStore } from './memory-trace-store.js'
