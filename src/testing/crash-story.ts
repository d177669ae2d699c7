/** What happened in a run, as a person would tell it: each step, each durable write with what it was for, each death and each new process. */
import type { Write } from './faulty-store.js'

/** Lines of one story; what is in the middle of a longer one is left out. */
const linesMax = 60

export class Story {
  private readonly told: string[] = []
  private readonly now: () => number
  private process = 0

  constructor(now: () => number) {
    this.now = now
  }

  starts(): void {
    this.say(`process ${++this.process} starts`)
  }

  step(what: string): void {
    this.say(what)
  }

  write(write: Write, killed: 'before' | 'after' | undefined): void {
    const what = `write ${write.index}  ${write.kind}${about(write)}`
    if (killed === 'before') this.say(`killed before ${what}`)
    else this.say(`${what}${killed === 'after' ? '  — killed after it' : ''}`)
  }

  get lines(): readonly string[] {
    const { told } = this
    if (told.length <= linesMax) return told
    const half = linesMax / 2
    return [...told.slice(0, half), `          … ${told.length - linesMax} more …`, ...told.slice(-half)]
  }

  private say(text: string): void {
    this.told.push(`${`${this.now()} ms`.padStart(9)}  ${text}`)
  }
}

/** Messages of an append, records of a commit. */
function about({ entries = [], commit }: Write): string {
  if (entries.length > 0) return `  ${entries.map(({ to, text }) => `${messageText(text)} to ${to}`).join(', ')}`
  const parts = (commit?.parts ?? []).map(({ address, fields, effects, timers }) => {
    const z = fields.get('z')
    const turn = z === undefined ? '' : ` turn ${z.slice(8).split(' ')[0]!}`
    const begun = [...effects.values()].filter((text) => text !== undefined).length
    const set = [...timers.values()].filter((due) => due !== undefined).length
    return `${address}${turn}${begun > 0 ? `, begins ${begun === 1 ? 'an effect' : `${begun} effects`}` : ''}${set > 0 ? `, sets ${set === 1 ? 'a timer' : `${set} timers`}` : ''}`
  })
  return parts.length > 0 ? `  ${parts.join('; ')}` : ''
}

function messageText(text: string): string {
  const { kind, body } = JSON.parse(text) as { kind: string; body?: { type?: string } }
  return kind === 'event' || kind === 'fact' ? `${kind} "${body?.type ?? ''}"` : kind
}
