/** A node of budget-mesh.ts, until it is killed: `budget-node.script.ts <redis url> <provider url> <node> <calls>`. */
import { budgetMesh } from './budget-mesh.js'

const [redis, url, node, calls] = process.argv.slice(2) as [string, string, string, string]
const { mesh } = budgetMesh({ redis, url, node, calls: Number(calls) })
await mesh.start()
console.log('started')
