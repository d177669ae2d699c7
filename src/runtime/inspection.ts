/**
 * Tells inspectors of turns, after their commit and in order, in the shape that XState documents (`InspectionEvent`),
 * so that whatever takes the events of `createActor(machine, { inspect })` takes these.
 *
 * N1  An inspector sees committed states only: its actors show the last turn that it was told of, not the one in memory,
 *     which may be ahead of its commit.
 * N2  An actor is announced (`@xstate.actor`) before anything else is said of it, also one that was there before: read
 *     back from the store, or in memory when the inspector came.
 * N3  What an inspector throws harms nobody.
 */
import type { InspectionEvent, Observer } from 'xstate'
import { isHoldfastError, toStoredError } from '../errors.js'
import type { Logger } from './ports/logger.js'
import type { XSnapshot } from './xstate/insides.js'
import { RemoteRef, isCell, type Cell } from './xstate/refs.js'
import type { Turn, TurnInspection } from './xstate/turn.js'

/** As XState takes one. */
export type Inspect = ((event: InspectionEvent) => void) | Pick<Observer<InspectionEvent>, 'next'>

interface Inspector {
  readonly inspect: (event: InspectionEvent) => unknown
  /** Roots of the records that it knows. */
  readonly known: WeakSet<Cell>
  hasThrown: boolean
}

export class Inspectors {
  private readonly inspectors = new Set<Inspector>()
  private readonly views = new WeakMap<Cell, View>()
  private readonly logger: Logger

  constructor(logger: Logger) {
    this.logger = logger
  }

  get any(): boolean {
    return this.inspectors.size > 0
  }

  /** @param atRest roots of the records in memory of which everything is committed */
  add(inspect: Inspect, atRest: Iterable<Cell> = []): () => void {
    const inspector: Inspector = { inspect: typeof inspect === 'function' ? inspect : (event) => inspect.next?.(event), known: new WeakSet(), hasThrown: false }
    this.inspectors.add(inspector)
    for (const root of atRest) this.announce(inspector, root, new Map([...root.system.cells.values()].map((cell) => [cell, cell._snapshot])), new Set())
    return () => void this.inspectors.delete(inspector)
  }

  tell(root: Cell, { events, after }: TurnInspection): void {
    const isNew = new Set(events.flatMap(({ type, actorRef }) => (type === '@xstate.actor' ? [actorRef] : [])))
    for (const [cell, snapshot] of after) this.viewOf(cell).told = snapshot
    for (const inspector of [...this.inspectors]) {
      this.announce(inspector, root, after, isNew)
      for (const event of events) {
        const { actorRef, sourceRef } = event
        this.give(inspector, { ...event, actorRef: this.viewOf(actorRef), ...('sourceRef' in event ? { sourceRef: sourceRef === undefined || sourceRef instanceof RemoteRef ? sourceRef : this.viewOf(sourceRef) } : {}) })
      }
    }
  }

  /** All actors of a record, parents first, but those that the turn itself announces. */
  private announce(inspector: Inspector, root: Cell, standing: ReadonlyMap<Cell, XSnapshot>, isNew: ReadonlySet<Cell>): void {
    if (inspector.known.has(root)) return
    inspector.known.add(root)
    for (const [cell, snapshot] of [...standing].sort(([a], [b]) => a.number - b.number)) {
      if (isNew.has(cell)) continue
      const actorRef = this.viewOf(cell)
      actorRef.told = snapshot
      this.give(inspector, { type: '@xstate.actor', actorRef, rootId: root.sessionId })
    }
  }

  private give(inspector: Inspector, event: object): void {
    const threw = (error: unknown): void => {
      if (inspector.hasThrown) return
      inspector.hasThrown = true
      this.logger.warn({ error: toStoredError(error).message }, 'an inspector threw; what it throws from now on is not logged')
    }
    try {
      const answer = inspector.inspect(event as InspectionEvent)
      if (answer instanceof Promise) answer.catch(threw)
    } catch (error) {
      threw(error)
    }
  }

  private viewOf(cell: Cell): View {
    const view = this.views.get(cell)
    if (view) return view
    const made = Object.create(cell) as View
    this.views.set(cell, made)
    made.told = { status: 'active' }
    made.getSnapshot = () => made.told
    const { _parent: parent } = cell
    // Of a durable child it is an actor elsewhere.
    if (isCell(parent)) made._parent = this.viewOf(parent)
    return made
  }
}

/** The actor itself, but for its snapshot (N1). */
type View = Cell & { told: XSnapshot }

/**
 * What is told of a turn that failed, of which nothing is committed but the failure. If the machine threw: what XState
 * would have told. If it was refused by what the runtime asks of a machine, which XState knows nothing of: what came from
 * outside, and that the actor stands where it stood, in error.
 */
export function ofFailedTurn({ inspection }: Turn, root: Cell, error: unknown): TurnInspection | undefined {
  if (!inspection || !isHoldfastError(error)) return inspection
  const { events } = inspection
  const fromOutside = events.filter(({ type, actorRef, sourceRef }) => (type === '@xstate.event' ? !isCell(sourceRef) : type === '@xstate.actor' && actorRef === root))
  const first = events.findIndex(({ type }) => type === '@xstate.event')
  const told = fromOutside.length > 0 ? fromOutside : events.slice(first, first + 1)
  const snapshot = { ...root._snapshot, status: 'error' as const, error: toStoredError(error) }
  told.push({ type: '@xstate.snapshot', actorRef: root, event: told.at(-1)?.['event'] ?? { type: '' }, snapshot, rootId: root.sessionId })
  return { events: told, after: new Map([...root.system.cells.values()].map((cell) => [cell, cell === root ? snapshot : cell._snapshot])) }
}
