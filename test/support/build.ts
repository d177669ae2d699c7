/** Tests of the package as users have it need it built: once, before all of them. */
import { spawnSync } from 'node:child_process'

export default function setup(): void {
  const { status } = spawnSync(process.execPath, ['scripts/build.mjs', '--if-stale'], { stdio: 'inherit' })
  if (status !== 0) throw new Error('The package cannot be built; see above.')
}
