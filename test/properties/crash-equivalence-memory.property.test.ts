import { testCrashEquivalence } from './crash-equivalence.js'

testCrashEquivalence('memory', import.meta.url, { machines: 120, exhaustive: { first: 2, second: 20 }, least: { first: 100, second: 1_000 } })
