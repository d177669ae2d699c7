// Writes how many tests passed and failed to the file that HOLDFAST_COUNTS names. A skipped test counts as failed:
// nothing here is skipped on purpose.
import { writeFileSync } from 'node:fs'

export default class CountReporter {
  onTestRunEnd(modules, unhandledErrors) {
    let passed = 0
    let failed = unhandledErrors.length
    for (const module of modules) {
      if (module.errors().length > 0) failed += module.errors().length
      for (const test of module.children.allTests()) {
        if (test.result().state === 'passed') passed++
        else failed++
      }
    }
    if (process.env.HOLDFAST_COUNTS) writeFileSync(process.env.HOLDFAST_COUNTS, JSON.stringify({ passed, failed }))
  }
}
