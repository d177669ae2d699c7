import { testReplay } from './replay.js'

testReplay('lmdb', import.meta.url, 5)
