// Writes down what the tests said and how they ended, for docs/: HOLDFAST_RECORD names the file. JSON, so that the
// script that asked can put it into words.
import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'

export default class RecordReporter {
  said = []

  onUserConsoleLog({ content, type }) {
    if (type === 'stdout') this.said.push(stripVTControlCharacters(content).trimEnd())
  }

  onTestRunEnd(modules) {
    const tests = modules.flatMap((module) => [...module.children.allTests()].map((test) => ({ file: relative(process.cwd(), module.moduleId), name: test.fullName, state: test.result().state, ms: Math.round(test.diagnostic()?.duration ?? 0) })))
    if (process.env.HOLDFAST_RECORD) writeFileSync(process.env.HOLDFAST_RECORD, JSON.stringify({ tests, said: this.said }))
  }
}
