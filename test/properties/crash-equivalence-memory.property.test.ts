import { testCrashEquivalence } from './crash-equivalence.js'

testCrashEquivalence('memory', import.meta.url, { machines: 60, exhaustive: { first: 1, second: 20 }, least: { first: 40, second: 1_000 } })
