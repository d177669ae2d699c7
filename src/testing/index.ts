/** For tests of machines and agents: a simulated world, crash tests, and the contract that every store must keep. */
export { World, type WorldOptions } from './world.js'
export { crashTest, CrashTestError, type CrashReport, type CrashScenario, type CrashStep, type CrashTable, type CrashTestOptions, type KillPlan } from './crash-test.js'
export { FaultyStore, type Fault, type FaultyStoreOptions, type Write, type WriteKind } from './faulty-store.js'
export { VirtualClock } from './virtual-clock.js'
export { emptyPart, storeContract, type ContractCase, type ContractDatabase, type StoreContractOptions } from './store-contract.js'
