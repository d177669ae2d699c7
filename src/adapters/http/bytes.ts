/** Bodies, read to a bound. */

/** All of a body; undefined if it is longer than `max` bytes, and then the rest is left. */
export async function bytesOf(body: ReadableStream<Uint8Array> | null, max: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const reader = body?.getReader()
  const parts: Uint8Array[] = []
  let bytes = 0
  while (reader) {
    const { done, value } = await reader.read()
    if (done) break
    bytes += value.byteLength
    if (bytes > max) {
      await reader.cancel().catch(() => {})
      return undefined
    }
    parts.push(value)
  }
  return new Uint8Array(Buffer.concat(parts))
}
