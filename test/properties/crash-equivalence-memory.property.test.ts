import { testCrashEquivalence } from './crash-equivalence.js'

testCrashEquivalence('memory', import.meta.url, { machines: 50, exhaustive: { first: 1, second: 20 }, least: { first: 30, second: 1_000 } })
