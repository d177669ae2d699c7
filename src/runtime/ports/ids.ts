/** The id port. */
import { randomUUID } from 'node:crypto'

/** Where ids come from that nobody gave: of messages, nodes, runs. */
export interface IdSource {
  /** A new id of `[A-Za-z0-9._:-]`, unique in the namespace. */
  next(): string
}

export const randomIds: IdSource = { next: () => randomUUID() }
