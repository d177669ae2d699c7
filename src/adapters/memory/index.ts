export { MemoryDatabase, MemoryStore, type MemoryStoreOptions } from './memory-store.js'
