/** The actions that end a research run: writing the report to a file, or sending it to an address. */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { HoldfastError } from '../../errors.js'
import type { ExternalActionOptions } from '../../mesh/define-agent.js'
import type { EffectArgs, Reconciled } from '../../protocol.js'
import { within } from '../own-signal.js'

const WriteInput = z.object({ root: z.string(), path: z.string(), text: z.string() })
const PostInput = z.object({ url: z.url({ protocol: /^https?$/ }), text: z.string() })
type WriteInput = z.output<typeof WriteInput>
type PostInput = z.output<typeof PostInput>

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex')

/** A file is there whole or not at all; writing the same again changes nothing. */
async function writeReport({ input: { root, path, text } }: EffectArgs<WriteInput>): Promise<{ file: string; digest: string }> {
  const file = join(root, path)
  await mkdir(dirname(file), { recursive: true })
  const temporary = join(dirname(file), `.${randomUUID()}.tmp`)
  const handle = await open(temporary, 'wx')
  try {
    await handle.writeFile(text)
    await handle.sync()
    await handle.close()
    await rename(temporary, file)
  } catch (error) {
    await handle.close().catch(() => {})
    await rm(temporary, { force: true })
    throw error
  }
  return { file: path, digest: digestOf(text) }
}

async function isWritten({ input: { root, path, text } }: EffectArgs<WriteInput>): Promise<Reconciled<unknown>> {
  const there = await readFile(join(root, path), 'utf8').catch(() => undefined)
  return there === text ? { happened: true, output: { file: path, digest: digestOf(text) } } : { happened: false }
}

/** How often and how patiently a receiver is tried. */
export interface Pace {
  /** POSTs of one report, and GETs that ask for it, inclusive. */
  readonly attemptsMax: number
  /** The wait behind the first of them, ms; it doubles up to `waitMsMax`. */
  readonly waitMsMin: number
  readonly waitMsMax: number
  /** How long one answer is waited for, its body included, ms. */
  readonly answerMsMax: number
}

/** Waits of half a minute in all. */
const defaultPace: Pace = { attemptsMax: 8, waitMsMin: 250, waitMsMax: 15_000, answerMsMax: 30_000 }

/** What is asked of a receiver, for `--help`; the README tells the same. */
export const receiverProtocol = [
  'What --publish asks of the receiver: it takes one Idempotency-Key once, and keeps key and text before it answers.',
  '  POST  the report, with an Idempotency-Key. 2xx: taken, now or before. 422: the key came with another text. Any other 4xx: refused.',
  '        408, 409, 425, 429, 5xx and a receiver that is down are tried again under the same key for half a minute; then the run fails, and',
  '        holdfast retry sends it once more. After 502, 504 and a connection that ends over it, it may have been taken: GET asks.',
  '  GET   with the same header, if an answer was lost and after the last attempt. 404: nothing came under that key, and it is sent again.',
  '        200: the body names the SHA-256 of what it took, in hexadecimal, within its first 64 KiB; so a page that answers',
  '        everybody proves nothing. Anything else says nothing: the run waits, and a person says what happened (holdfast resolve).',
].join('\n')

const receiptCharsMax = 2_000
const proofBytesMax = 65_536

/** Answers behind which the same question may be answered otherwise. */
const isForNow = (status: number): boolean => status >= 500 || [408, 409, 425, 429].includes(status)
/** Answers of something in between that has lost the receiver's own. */
const isFromBetween = (status: number): boolean => status === 502 || status === 504

/** What one POST came to. `lost`: it may have been taken. */
type Posted = { readonly as: 'taken'; readonly output: unknown } | { readonly as: 'not taken' | 'refused' | 'lost'; readonly why: string }

async function postReport(args: EffectArgs<PostInput>, pace: Pace): Promise<unknown> {
  const { url } = args.input
  for (let attempt = 1; ; attempt++) {
    const posted = await post(args, pace)
    if (posted.as === 'taken') return posted.output
    if (posted.as === 'refused') throw new Error(`${url} refused the report: ${posted.why}.`)
    // Its last word may not have been its last deed.
    if (posted.as === 'lost' || attempt === pace.attemptsMax) {
      const known = await isPosted(args, posted.as === 'lost' ? pace : { ...pace, attemptsMax: 1 }).catch((error: unknown) => {
        args.signal.throwIfAborted()
        if (posted.as === 'lost') throw new HoldfastError('OUTCOME_UNKNOWN', `Whether ${url} has taken the report is unknown: ${posted.why}, and ${(error as Error).message}`)
        return { happened: false } as const
      })
      if (known.happened) return known.output
    }
    if (attempt === pace.attemptsMax) throw new Error(`${url} did not take the report in ${attempt} attempts: ${posted.why}.`)
    await wait(attempt, pace, args.signal)
  }
}

async function post({ input: { url, text }, idempotencyKey, signal }: EffectArgs<PostInput>, { answerMsMax }: Pace): Promise<Posted> {
  return within(answerMsMax, signal, async (own): Promise<Posted> => {
    let answer: Response
    try {
      answer = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'text/markdown; charset=utf-8', 'idempotency-key': idempotencyKey },
        body: text,
        redirect: 'manual',
        signal: own,
      })
    } catch (error) {
      signal.throwIfAborted()
      return { as: wasNeverSent(error) ? 'not taken' : 'lost', why: problemOf(error) }
    }
    const { status } = answer
    const body = await beginningOf(answer, receiptCharsMax).catch(() => '')
    signal.throwIfAborted()
    if (answer.ok) return { as: 'taken', output: { url, status, receipt: body } }
    // draft-ietf-httpapi-idempotency-key-header-07, section 2.7.
    if (status === 422) return { as: 'refused', why: `it answered 422. If it has another text under the key ${idempotencyKey}, give the run another id (--run)` }
    return { as: isFromBetween(status) ? 'lost' : isForNow(status) ? 'not taken' : 'refused', why: `it answered ${status}` }
  })
}

/**
 * Whether the receiver has this very report: it must name its digest, which the question does not hold.
 *
 * @throws Error if it does not say; where another time may be better it has been asked again
 */
async function isPosted(args: EffectArgs<PostInput>, pace: Pace): Promise<Reconciled<unknown>> {
  const { input: { url, text }, idempotencyKey, signal } = args
  for (let attempt = 1; ; attempt++) {
    let why: string
    let isAskedAgain = true
    try {
      const { status, ok, body } = await within(pace.answerMsMax, signal, async (own) => {
        const answer = await fetch(url, { headers: { 'idempotency-key': idempotencyKey }, redirect: 'manual', signal: own })
        return { status: answer.status, ok: answer.ok, body: await beginningOf(answer, proofBytesMax) }
      })
      if (status === 404) return { happened: false }
      if (ok && body.toLowerCase().includes(digestOf(text))) return { happened: true, output: { url, status, receipt: body.slice(0, receiptCharsMax) } }
      why = ok ? `it answered ${status} without the digest of the report` : `it answered ${status}`
      isAskedAgain = isForNow(status)
    } catch (error) {
      signal.throwIfAborted()
      why = problemOf(error)
    }
    if (!isAskedAgain || attempt === pace.attemptsMax) throw new Error(`${url} does not say whether it has the report: asked by key, ${why}`)
    await wait(attempt, pace, signal)
  }
}

function wait(attempt: number, { waitMsMin, waitMsMax }: Pace, signal: AbortSignal): Promise<void> {
  return sleep(Math.min(waitMsMax, waitMsMin * 2 ** (attempt - 1)), undefined, { signal })
}

/** The body as far as it is wanted; the rest is not waited for. */
async function beginningOf(answer: Response, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of answer.body ?? []) {
    chunks.push(chunk)
    length += chunk.length
    if (length >= bytesMax) break
  }
  return Buffer.concat(chunks).subarray(0, bytesMax).toString('utf8')
}

interface Problem {
  readonly message: string
  readonly code?: string
  readonly cause?: Problem
  readonly errors?: readonly Problem[]
}

/** What `fetch` hides: its own words are "fetch failed". */
function causeOf(error: unknown): Problem {
  const { cause, ...rest } = error as Problem
  return cause?.errors?.[0] ?? cause ?? { ...rest, message: (error as Problem).message }
}

function problemOf(error: unknown): string {
  const { message, code } = causeOf(error)
  return message || code || 'no answer came'
}

/** Whether nothing can have reached the receiver: there was no connection to send it by. */
function wasNeverSent(error: unknown): boolean {
  const { code = '', message } = causeOf(error)
  return /^(?:ECONNREFUSED|ENOTFOUND|EAI_\w+|EHOSTUNREACH|EHOSTDOWN|ENETUNREACH|ENETDOWN|UND_ERR_CONNECT_TIMEOUT|ERR_TLS_\w+|ERR_SSL_\w+|CERT_\w+|\w*SELF_SIGNED\w*|UNABLE_TO_\w+)$/.test(code) || message === 'bad port'
}

// Each action has an input of its own.
// oxlint-disable-next-line typescript/no-explicit-any
export function externalActions(pace: Pace = defaultPace): Readonly<Record<string, ExternalActionOptions<any>>> {
  return {
    'write-report': { input: WriteInput, run: writeReport, reconcile: isWritten } satisfies ExternalActionOptions<WriteInput>,
    'post-report': { input: PostInput, run: (args) => postReport(args, pace), reconcile: (args) => isPosted(args, pace) } satisfies ExternalActionOptions<PostInput>,
  }
}
