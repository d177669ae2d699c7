import { fileURLToPath } from 'node:url'
import { configDefaults, defineConfig } from 'vitest/config'

const tier = process.env['HOLDFAST_TIER'] ?? 'first'

/** First tier: what `npm test` and CI run. Second tier (`npm run test:faults`): the same properties, longer, and the fault tests. */
export default defineConfig({
  test: {
    testTimeout: tier === 'first' ? 120_000 : 1_800_000,
    hookTimeout: 120_000,
    // Of three on two processors one waits for time or for processes; the second tier has no time to spare for that.
    maxWorkers: tier === 'first' ? 3 : 2,
    globalSetup: ['test/support/build.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'holdfast',
          include: tier === 'first' ? ['test/**/*.test.ts'] : ['test/**/*.property.test.ts', 'test/faults/**/*.test.ts'],
          // Takes minutes; test/mesh/outage.property.test.ts shows as much in virtual time.
          exclude: [...configDefaults.exclude, ...(tier === 'first' ? ['test/faults/outage.test.ts'] : [])],
        },
      },
      {
        // XState ships two builds; vitest picks the development one, Node in production the other.
        extends: true,
        resolve: { alias: [{ find: /^xstate$/, replacement: fileURLToPath(new URL('node_modules/xstate/dist/xstate.cjs.mjs', import.meta.url)) }] },
        test: { name: 'xstate production build', include: ['test/runtime/differential.property.test.ts'], env: { HOLDFAST_XSTATE: 'production' } },
      },
    ],
  },
})
