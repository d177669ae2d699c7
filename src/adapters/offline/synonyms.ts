/**
 * Words that documents about software use for the same thing. Used only to ask a question again in other words; no claim
 * is judged by it. A row begins with the word it is for, then others of the same part of speech, closest first, all in the base
 * form; verbs are regular, so that they can be inflected.
 */
const NOUNS =
  'error exception failure|failure error crash|crash failure|retry reconnection attempt|timeout deadline|setting option configuration|option setting flag|flag option|argument parameter option|parameter argument option|' +
  'speed performance throughput|performance speed throughput|log message|logger transport|cache memory|eviction expiration removal|storage database disk|database store|memory heap buffer|connection socket client|' +
  'command request operation|query search request|message event|event message notification|transaction batch commit|batch pipeline transaction|document text file|file path stream|thread worker process|process worker thread|' +
  'lock mutex|schema type validator|validation parsing check|input value argument|output result|test assertion|property invariant|range version|color style|security safety|safety durability isolation|machine statechart actor|' +
  'format encoding|serialization encoding|encoding serialization|compression encoding|secret password token|plugin extension|help usage'
const VERBS =
  'lose drop close disconnect|fail reject abort|throw reject fail|retry reconnect repeat|reconnect retry connect|store save persist|save store persist|persist store save|retrieve load fetch|read load parse|write save store|' +
  'delete remove clear|remove delete evict|expire evict remove|evict expire remove|validate check parse|verify check validate|check validate test|parse tokenize validate|log print|print log display|send publish emit|receive subscribe|' +
  'search query match|find search match|configure enable|enable activate configure|disable prevent stop|speed optimize improve|improve optimize|serialize encode pack|encode serialize pack|decode parse unpack|' +
  'compress encode pack|cache store|generate create produce|create generate|shrink reduce minimize|reproduce replay repeat|replay repeat|compare match check|sort order|redact mask remove censor|hide mask redact|run execute start|' +
  'execute start call|stop abort close|model describe define|split divide tokenize|highlight color'
const ADJECTIVES = 'fast efficient lightweight|slow expensive blocking|safe secure atomic durable|secure safe|small lightweight tiny|big large|large big|asynchronous concurrent parallel|concurrent parallel asynchronous|deterministic stable reproducible|nested deep|invalid malformed wrong'

const TABLE: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({ NOUN: NOUNS, VERB: VERBS, ADJ: ADJECTIVES }).flatMap(([pos, rows]) =>
    rows.split('|').map((row) => {
      const [head = '', ...others] = row.split(' ')
      return [`${pos} ${head}`, others] as const
    }),
  ),
)

/** Other words for a noun, verb or adjective, given and returned in the base form; none if it is not in the table. */
export function synonymsOf(lemma: string, pos: string): readonly string[] {
  return TABLE.get(`${pos} ${lemma}`) ?? []
}
