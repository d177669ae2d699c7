/**
 * The names of all keys. What one commit touches lies in one slot: all keys of a shard share the hash tag
 * `{<namespace>:<shard>}`, and the one key of a namespace has a tag of its own. A namespace has no braces, so it
 * cannot end a tag early, and a shard is a number, so `n:1` + `2` and `n` + `1:2` cannot meet.
 *
 * | key, after `<prefix>:{<namespace>:<shard>}:` | type | holds |
 * |---|---|---|
 * | `meta`            | hash   | `owner` `beat` `epoch` `clean`: who owns the shard. `number` `position` `clock`: its last commit. `seq`: last number of the log. `sealed` `over` `imported`: of a move |
 * | `log`             | stream | the mailbox; id `<seq>-0`, `a` time of the append, `t` the envelope |
 * | `ids`             | zset   | ids of accepted messages by the time until which they are remembered |
 * | `backlog`         | hash   | unhandled messages by address |
 * | `delivered`       | hash   | highest outbox number seen, by source shard |
 * | `timers`          | zset   | timers by due time |
 * | `effects`         | hash   | effects begun, by id: `<commit> <place> <record>` |
 * | `actions`         | hash   | actions to confirm, by id: `<commit> <place> <record>` |
 * | `suspects`        | hash   | attempts, by id |
 * | `replies`         | hash   | answers, by message id |
 * | `reply-expiry`    | zset   | message ids of answers by the time until which they are kept |
 * | `outboxes`        | set    | shards for which undelivered messages wait |
 * | `outbox:<shard>`  | zset   | those messages by number: `[number,id,address,until]` newline envelope |
 * | `parked`          | set    | addresses with parked messages |
 * | `p:<address>`     | list   | the parked messages of an actor |
 * | `r:<address>`     | hash   | a record |
 * | `index`           | zset   | addresses of all records; score 0, so in the order of their bytes |
 * | `index-by-key`    | zset   | the same as `<key[~path]>/<machine>` |
 * | `terms`           | zset   | what actors are found by: `<term>` newline `<address>`; score 0 |
 * | `terms-of`        | hash   | the terms of an actor by its address, a newline between two |
 * | `streams`         | zset   | names of all streams; score 0 |
 * | `s:<name>`        | stream | a stream; id `0-<seq>`, `t` the entry. In stream `dead`, a message without room: `o` address, `a` time, `t` envelope |
 *
 * | key, after `<prefix>:{<namespace>}:` | type | holds |
 * |---|---|---|
 * | `namespace` | hash | `shards` `incarnation` `format`, fixed when it is created |
 * | `state`     | hash | `beats`: signs of life of all nodes so far. `halted`: why no shard may be run now; `accepted`: how often it was accepted. `mark` `move`: of what move it is a side |
 * | `nodes`     | hash | the nodes that share the shards: counter, a space, `here`, `leaving` or `dead` |
 * | `probe`     | -    | written and removed whenever a connection is made |
 *
 * Channel `<prefix>:{<namespace>:<shard>}:changed` carries the number of each commit, and is used when the shard is released;
 * channel `<prefix>:{<namespace>}:changed` names each node that comes or leaves.
 */
import { ConfigError } from '../../errors.js'

/** Of the layout above. A store refuses a namespace of another one. */
export const dataFormat = '1'

const namespacePattern = /^[A-Za-z0-9._:-]{1,256}$/
const prefixPattern = /^[A-Za-z0-9._:-]{1,64}$/

export function checkPrefix(prefix: string): string {
  if (prefixPattern.test(prefix)) return prefix
  throw new ConfigError(`keyPrefix: ${JSON.stringify(prefix)} is not allowed. Use 1 to 64 of A-Z a-z 0-9 . _ : -`)
}

export class NamespaceKeys {
  readonly settings: string
  readonly probe: string
  readonly nodes: string
  readonly state: string
  /** Tells of nodes. */
  readonly channel: string
  private readonly prefix: string
  private readonly namespace: string
  private readonly byShard: ShardKeys[] = []

  /** @throws ConfigError for a name outside `[A-Za-z0-9._:-]` or longer than 256 */
  constructor(prefix: string, namespace: string) {
    if (!namespacePattern.test(namespace)) {
      throw new ConfigError(`namespace: ${JSON.stringify(namespace.slice(0, 80))} is not allowed. Use 1 to 256 of A-Z a-z 0-9 . _ : -`)
    }
    this.prefix = prefix
    this.namespace = namespace
    this.settings = `${prefix}:{${namespace}}:namespace`
    this.probe = `${prefix}:{${namespace}}:probe`
    this.nodes = `${prefix}:{${namespace}}:nodes`
    this.state = `${prefix}:{${namespace}}:state`
    this.channel = `${prefix}:{${namespace}}:changed`
  }

  shard(shard: number): ShardKeys {
    return (this.byShard[shard] ??= new ShardKeys(`${this.prefix}:{${this.namespace}:${shard}}:`))
  }
}

export class ShardKeys {
  readonly meta: string
  readonly log: string
  readonly ids: string
  readonly backlog: string
  readonly delivered: string
  readonly timers: string
  readonly effects: string
  readonly actions: string
  readonly suspects: string
  readonly replies: string
  readonly replyExpiry: string
  readonly outboxes: string
  readonly parkedIndex: string
  readonly index: string
  readonly indexByKey: string
  readonly terms: string
  readonly termsOf: string
  readonly streams: string
  readonly channel: string
  /** What a stream's key begins with; its name follows. */
  readonly streamPrefix: string
  private readonly base: string

  constructor(base: string) {
    this.base = base
    this.meta = `${base}meta`
    this.log = `${base}log`
    this.ids = `${base}ids`
    this.backlog = `${base}backlog`
    this.delivered = `${base}delivered`
    this.timers = `${base}timers`
    this.effects = `${base}effects`
    this.actions = `${base}actions`
    this.suspects = `${base}suspects`
    this.replies = `${base}replies`
    this.replyExpiry = `${base}reply-expiry`
    this.outboxes = `${base}outboxes`
    this.parkedIndex = `${base}parked`
    this.index = `${base}index`
    this.indexByKey = `${base}index-by-key`
    this.terms = `${base}terms`
    this.termsOf = `${base}terms-of`
    this.streams = `${base}streams`
    this.channel = `${base}changed`
    this.streamPrefix = `${base}s:`
  }

  record(address: string): string {
    return `${this.base}r:${address}`
  }

  parked(address: string): string {
    return `${this.base}p:${address}`
  }

  stream(name: string): string {
    return this.streamPrefix + name
  }

  outbox(to: number): string {
    return `${this.base}outbox:${to}`
  }

  /** The first keys of every script that includes mailbox.lua. */
  get mailbox(): string[] {
    return [this.meta, this.log, this.ids, this.backlog, this.stream('dead')]
  }
}

/** An address as `index-by-key` holds it: what shares a key stands together. */
export function toKeyMember(address: string): string {
  const slash = address.indexOf('/')
  return `${address.slice(slash + 1)}/${address.slice(0, Math.max(0, slash))}`
}

export function fromKeyMember(member: string): string {
  const slash = member.lastIndexOf('/')
  return `${member.slice(slash + 1)}/${member.slice(0, slash)}`
}
