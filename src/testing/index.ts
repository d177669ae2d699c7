/** For tests of machines and agents: a simulated world, crash tests, models played back, and the contract that every store must keep. */
export { World, type Living, type WorldOptions } from './world.js'
export { crashTest, CrashScenarioError, CrashTestError, UnsettledError, type ActorOutcome, type CrashOutcome, type CrashReport, type CrashScenario, type CrashStep, type CrashTable, type CrashTestOptions, type Kill } from './crash-test.js'
export { FaultyStore, type Fault, type FaultyStoreOptions, type Write, type WriteKind } from './faulty-store.js'
export { recordModel, replayModel, type RecordOptions, type ReplayModel, type ReplayOptions } from './recorded-model.js'
export { RecordingError, type RequestDifference } from './recording.js'
export { VirtualClock } from './virtual-clock.js'
export { emptyPart, storeContract, type ContractCase, type ContractDatabase, type StoreContractOptions } from './store-contract.js'
export { traceStoreContract, type TraceStoreCase, type TraceStoreContractOptions, type TraceStoreDatabase } from './trace-store-contract.js'
