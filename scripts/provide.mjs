// Sees to what the tests need beside npm packages: a redis-server. Uses the one on the PATH, else installs Debian's
// where it can (root and apt), else stops and says what to do. Never skips silently.
import { spawnSync } from 'node:child_process'

const has = (command) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0

function provide(command, debianPackage) {
  if (has(command)) return true
  const canInstall = process.getuid?.() === 0 && has('apt-get')
  if (canInstall) {
    console.log(`${command} is not here; installing Debian's ${debianPackage} …`)
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
    const install = () => spawnSync('apt-get', ['install', '-y', '--no-install-recommends', debianPackage], { stdio: 'inherit', env }).status === 0
    if (install() || (spawnSync('apt-get', ['update'], { stdio: 'inherit', env }).status === 0 && install())) return has(command)
  }
  console.error(`${command} is needed by the tests and is not on the PATH. Install it (Debian, Ubuntu: apt-get install ${debianPackage}; macOS: brew install redis) and run this again.`)
  return false
}

process.exitCode = provide('redis-server', 'redis-server') ? 0 : 1
