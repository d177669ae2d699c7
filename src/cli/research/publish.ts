/** The actions that end a research run: writing the report to a file, or sending it to an address. */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { HoldfastError } from '../../errors.js'
import type { ExternalActionOptions } from '../../mesh/define-agent.js'
import type { EffectArgs, Reconciled } from '../../protocol.js'

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

const attemptsMax = 5
const firstRetryMs = 200

/**
 * POSTs the report with its key as `Idempotency-Key`. When no answer comes, or one that does not say whether it was
 * taken, the receiver is asked by GET with the same header: 200 says that it has it, 404 that it has not. Anything else
 * leaves it unknown, and a person must find out.
 */
async function postReport(args: EffectArgs<PostInput>): Promise<unknown> {
  const { input, idempotencyKey, signal } = args
  for (let attempt = 1; ; attempt++) {
    let answer: Response | undefined
    let problem = ''
    try {
      answer = await fetch(input.url, { method: 'POST', headers: { 'content-type': 'text/markdown; charset=utf-8', 'idempotency-key': idempotencyKey }, body: input.text, signal, redirect: 'error' })
      if (answer.ok) return receiptOf(input.url, answer)
      problem = `it answered ${answer.status}`
    } catch (error) {
      signal.throwIfAborted()
      problem = ((error as Error).cause as Error | undefined)?.message ?? (error as Error).message
    }
    await answer?.body?.cancel()
    // 422: the key is taken, by a report with another text (draft-ietf-httpapi-idempotency-key-header-07, section 2.7).
    if (answer?.status === 422) throw new Error(`${input.url} refused the report: it answered 422. If it has another text under the key ${idempotencyKey}, give the run another id (--run).`)
    // A receiver that refuses what it was sent has not taken it.
    if (answer && answer.status >= 400 && answer.status < 500 && ![408, 409, 425, 429].includes(answer.status)) throw new Error(`${input.url} refused the report: ${problem}.`)
    const known = await isPosted(args).catch((error: unknown) => {
      throw new HoldfastError('OUTCOME_UNKNOWN', `Whether ${input.url} has taken the report is unknown: ${problem}, and asking by key failed (${(error as Error).message}).`)
    })
    if (known.happened) return known.output
    if (attempt === attemptsMax) throw new Error(`${input.url} did not take the report in ${attemptsMax} attempts: ${problem}.`)
    await sleep(firstRetryMs * 2 ** (attempt - 1), undefined, { signal })
  }
}

async function isPosted({ input, idempotencyKey, signal }: EffectArgs<PostInput>): Promise<Reconciled<unknown>> {
  const answer = await fetch(input.url, { headers: { 'idempotency-key': idempotencyKey }, signal, redirect: 'error' })
  if (answer.status === 404) {
    await answer.body?.cancel()
    return { happened: false }
  }
  if (!answer.ok) {
    await answer.body?.cancel()
    throw new Error(`it answered ${answer.status} when asked by key`)
  }
  return { happened: true, output: await receiptOf(input.url, answer) }
}

const receiptCharsMax = 2_000

async function receiptOf(url: string, answer: Response): Promise<{ url: string; status: number; receipt: string }> {
  return { url, status: answer.status, receipt: (await answer.text()).slice(0, receiptCharsMax) }
}

// Each action has an input of its own.
// oxlint-disable-next-line typescript/no-explicit-any
export const externalActions: Readonly<Record<string, ExternalActionOptions<any>>> = {
  'write-report': { input: WriteInput, run: writeReport, reconcile: isWritten } satisfies ExternalActionOptions<WriteInput>,
  'post-report': { input: PostInput, run: postReport, reconcile: isPosted } satisfies ExternalActionOptions<PostInput>,
}
