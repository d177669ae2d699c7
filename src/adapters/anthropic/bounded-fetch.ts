/** Bounds what a server may send us: the SDK itself reads on for as long as bytes arrive. */

/** Of an answer that is an error only the first bytes matter. */
const ERROR_BYTES_MAX = 65_536

/** The body of an answer went on beyond its bound. */
export class AnswerTooLongError extends Error {
  readonly bytesMax: number
  constructor(bytesMax: number) {
    super(`the answer is longer than ${bytesMax} bytes`)
    this.bytesMax = bytesMax
  }
}

/** `fetch`, whose answers fail with {@link AnswerTooLongError} beyond `bytesMax` bytes (65,536 if the status is an error). */
export function boundedFetch(fetch: typeof globalThis.fetch, bytesMax: number): typeof globalThis.fetch {
  return async (input, init) => {
    const response = await fetch(input, init)
    if (!response.body) return response
    return new Response(bounded(response.body, response.ok ? bytesMax : ERROR_BYTES_MAX), response)
  }
}

function bounded(body: ReadableStream<Uint8Array>, bytesMax: number): ReadableStream<Uint8Array> {
  const reader = body.getReader()
  let left = bytesMax
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await reader.read()
        if (done) return controller.close()
        left -= value.byteLength
        if (left >= 0) return controller.enqueue(value)
        controller.error(new AnswerTooLongError(bytesMax))
        await reader.cancel()
      },
      cancel: (reason) => reader.cancel(reason),
    },
    // Nothing is read ahead of whoever reads the answer.
    { highWaterMark: 0 },
  )
}
