/**
 * Lets another process look at the actors that this one runs. It asks through the store, as it would ask for anything: by
 * starting an actor, which calls back on this machine alone and says nothing until it has heard the word it was given.
 * The actor ends when nobody has wanted it for a while, so that whoever looked may die.
 */
import { fromCallback, setup, type InspectionEvent } from 'xstate'
import { createWebSocketInspector, type InternalOptions } from '../adapters/inspect/web-socket-inspector.js'
import type { Logger } from '../runtime/ports/logger.js'
import type { ActorSystem } from '../runtime/system.js'

/** What the one who looks listens on, on 127.0.0.1, and what is to be shown. */
export interface InspectionRequest {
  readonly port: number
  /** What the caller must know: 32 hexadecimal digits. */
  readonly knock: string
  /** What the one called must know. */
  readonly password: string
  /** Only that run; null: all there is. */
  readonly run: string | null
  readonly redact: Redaction
  readonly errors: boolean
}

export const redactions = ['values', 'secrets', 'nothing'] as const
export type Redaction = (typeof redactions)[number]

/** How long nobody may have wanted it, ms. */
export const wantedForMs = 15_000

export const inspectionName = 'inspection'

/** @param system the one whose actors are looked at */
export function inspectionMachine(system: () => ActorSystem, logger: Logger) {
  return setup({
    types: { context: {} as InspectionRequest, input: {} as InspectionRequest, events: {} as { readonly type: 'inspection.want' } },
    actors: {
      stream: fromCallback(({ input }: { input: InspectionRequest }) => {
        if (!isSound(input)) return undefined
        const { port, knock, password, run, redact, errors } = input
        const inspector = createWebSocketInspector({ url: `ws://127.0.0.1:${port}/${knock}`, password, redact, errors, logger, filter: (event) => isOf(event, run) } as InternalOptions)
        const { unsubscribe } = system().inspect(inspector.inspect)
        return () => {
          unsubscribe()
          void inspector.stop()
        }
      }),
    },
  }).createMachine({
    id: inspectionName,
    version: '1',
    description: 'Shows another process on this machine what happens, as long as that wants to see it.',
    context: ({ input }) => input,
    initial: 'wanted',
    states: {
      wanted: {
        initial: 'lately',
        invoke: { id: 'stream', src: 'stream', input: ({ context }) => context },
        states: { lately: { after: { [wantedForMs]: '#over' }, on: { 'inspection.want': { target: 'lately', reenter: true } } } },
      },
      over: { id: 'over', type: 'final' },
    },
  })
}

/** It comes from the store: whoever can write there says where to call, and here that is this machine only. */
function isSound({ port, knock, password, redact }: InspectionRequest): boolean {
  return Number.isSafeInteger(port) && port > 0 && port < 65_536 && [knock, password].every((word) => /^[0-9a-f]{32}$/.test(word)) && redactions.includes(redact)
}

/** Inspections are not shown to each other. The actors of a run bear its id. */
function isOf({ rootId }: InspectionEvent, run: string | null): boolean {
  const [machine, key] = rootId.split('/') as [string, string?]
  return machine !== inspectionName && (run === null || key?.split('~')[0] === run)
}
