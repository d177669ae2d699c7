/** A node of the outage's mesh, until SIGTERM. Argument: what {@link meshOf} takes, as JSON, and the node's name. */
import { meshOf, type OutageMesh } from './outage-job.js'

const [given, node] = process.argv.slice(2) as [string, string]
const { mesh } = meshOf(JSON.parse(given) as OutageMesh, node)
process.on('SIGTERM', () => void mesh.stop().then(() => process.exit(0)))
await mesh.start()
console.log('started')
