/** A few documents for runs in tests: enough to be read, small enough to be read in an instant. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const texts: Readonly<Record<string, string>> = {
  'guide.md': `# Lantern guide

Lantern keeps a connection to the server and reconnects when the connection is lost.
When a reconnect fails, Lantern waits longer before each further attempt, up to 30 seconds.
However, it gives up after ten attempts.

## Commands

Commands sent while the connection is lost are queued in memory and sent after the reconnect.
The queue holds 1,000 commands; a command beyond that is rejected with an error.

\`\`\`js
lantern.connect({ retry: true })
\`\`\`
`,
  'security.md': `# Security

Secrets are redacted before a log line is written, so that no secret ever reaches the log file.
The redaction paths are compiled once, when the logger is created.
This makes it fast.

| option | default |
|---|---|
| redact | none |
`,
  'schemas.md': `# Schemas

A schema validates its input and reports every validation error with the path of the offending value.
Validation errors are collected, not thrown one by one, unless the schema is told to abort early.
A validated value is a copy; the input of the schema is never changed.
`,
  'notes/history.md': `# Notes

The lantern project began in a basement.
Nobody remembers who wrote the first reconnect loop, but its retry delays are still in the code.
`,
}

export const question = 'How does Lantern reconnect when the connection is lost, how are secrets redacted in the log, and how are validation errors reported?'

/** Writes them into a new folder `docs` below the given one. */
export async function writeDocuments(folder: string): Promise<string> {
  const docs = join(folder, 'docs')
  await mkdir(join(docs, 'notes'), { recursive: true })
  for (const [name, text] of Object.entries(texts)) await writeFile(join(docs, name), text)
  return docs
}
