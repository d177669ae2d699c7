/**
 * What a receiver of idempotency keys remembers. A request is begun, under way under a lease, and done with its answer, or
 * unknown: begun by a process that let its lease lapse, or that said itself that it does not know.
 *
 * Q1  Of all `begin` of one key, at any number of processes, at most one has it at a time; it is told `begun` or `taken`.
 * Q2  What is done stays done, with its first answer and its digest, for `retentionMs`.
 * Q3  `renew` and `end` change something only for the token that has the key: a process that was frozen changes nothing any more.
 * Q4  Each call may be repeated with the same arguments after a lost reply: it has its effect once and is told the same. A `taken` that came
 *     out as `begun` the second time would be carried out twice.
 *
 * Time is the store's. Not promised: any order among keys.
 */

/** An answer that is given again. */
export interface KeptAnswer {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** In base64; absent if it was too long to keep. */
  readonly body?: string
  readonly bodyBytes: number
}

export interface Begin {
  /** Of the request: another one under the same key is told `other`. */
  readonly digest: string
  /** Of whoever asks: unique to this attempt. */
  readonly token: string
  /** How long the key is held without `renew`, ms. */
  readonly leaseMs: number
  /** How long the key is remembered from the end of its lease, ms; one that is renewed is not forgotten. */
  readonly retentionMs: number
  /** Whether one that is unknown is taken over. */
  readonly takesOver: boolean
}

export type Known =
  /** It is new, and held by this token. */
  | { readonly state: 'begun' }
  /** It was unknown, and is held by this token now. */
  | { readonly state: 'taken' }
  /** Somebody has it. */
  | { readonly state: 'running' }
  | { readonly state: 'unknown' }
  | { readonly state: 'done'; readonly answer: KeptAnswer }
  /** The key was used for another request. */
  | { readonly state: 'other' }

export type End =
  | { readonly state: 'done'; readonly answer: KeptAnswer }
  | { readonly state: 'unknown' }
  /** It was not carried out, and is forgotten. */
  | { readonly state: 'released' }

export interface IdempotencyStore {
  /** @throws StoreError */
  begin(key: string, begin: Begin): Promise<Known>
  /** Whether the token still has the key. @throws StoreError */
  renew(key: string, token: string, leaseMs: number): Promise<boolean>
  /** Whether the token had the key. @throws StoreError */
  end(key: string, token: string, end: End, retentionMs: number): Promise<boolean>
  close(): Promise<void>
}
