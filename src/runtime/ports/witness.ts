/**
 * The witness port: a place outside the store that remembers how far the store had come, so that a store which went back in
 * time while no process was running is found out by the next one that starts (I11).
 */

/** What one process knows of a namespace. */
export interface Testimony {
  /** Who says so: a process, anew with each start. */
  readonly node: string
  /** Which namespace of that name it was, and how often what it held had been accepted. */
  readonly incarnation: string
  readonly accepted: number
  /** Numbers of commits that stood, by shard. At most 1,024. */
  readonly commits: Readonly<Record<number, number>>
  /** The store as it was when it was halted: once it has been accepted from there, what was said before counts no more. */
  readonly halted?: { readonly incarnation: string; readonly accepted: number }
}

export interface Witness {
  /**
   * What was told last of a namespace, by each who told.
   * @throws ConfigError if what is kept cannot be read
   */
  recall(namespace: string): Promise<readonly Testimony[]>
  /** Keeps it in place of what the same node told before. Resolves when a power cut could not take it away. */
  tell(namespace: string, testimony: Testimony): Promise<void>
  /** Forgets what a node told, if anything. */
  forget(namespace: string, node: string): Promise<void>
}
