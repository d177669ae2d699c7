import { testReplay } from './replay.js'

testReplay('redis', import.meta.url, 3)
