import { testReplay } from './replay.js'

testReplay('memory', import.meta.url, 15)
