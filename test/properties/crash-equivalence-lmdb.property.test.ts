import { testCrashEquivalence } from './crash-equivalence.js'

testCrashEquivalence('lmdb', import.meta.url, { machines: 9, exhaustive: { first: 0, second: 2 }, least: { first: 1, second: 100 } })
