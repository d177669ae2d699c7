/**
 * Base forms of verbs that are common in texts about software. The part-of-speech tagger takes many of them for nouns or names
 * where a sentence opens with them, or where their subject is a name it does not know (`ioredis supports ...`).
 */
const VERBS = new Set(
  ('abort accept access achieve act activate add adjust affect aim allow appear append apply ask assert assign assume attach avoid await become begin behave bind block break bring buffer build bundle ' +
    'cache calculate call cancel catch cause chain change check choose clean clear click clone close collect combine come commit communicate compare compile complete compress compute configure connect consider construct ' +
    'consume contain continue control convert cope copy cost count cover crash create cut deal debug decide declare decode decompress default define delete deliver depend deploy describe deserialize detect determine ' +
    'differ disable discard disconnect display distribute download drop emit enable encode encrypt end enforce ensure enter erase escape evaluate evict exceed execute exist exit expand expect expire explain ' +
    'export expose extend extract fail fall fetch fill filter find finish fit fix flush fold follow force forget fork format free freeze generate get give go group grow guarantee guard handle hang happen have hash help hide ' +
    'hold ignore implement import improve include increase indicate infer inherit initialize insert inspect install instantiate intend interact introduce invalidate invoke join keep kill know lack ' +
    'launch lead learn leave let limit link list listen load lock log look lose lower maintain make manage map mark match mean measure merge migrate minify mock modify monitor move mutate need normalize notice notify ' +
    'occur offer omit open operate optimize order output override own pack parse pass pause perform persist pick pipe play poll pool prefer prefix prepare preserve press prevent print process produce promote protect provide publish ' +
    'push put query queue raise rank reach read rebuild receive recommend reconnect recover redirect reduce refer refresh register reject release rely remain remember remove rename render repeat replace replay report represent reproduce request require ' +
    'resend reset resolve respond restart restore resume retain retrieve retry return reuse revert rotate route run save scale scan schedule search see select send separate serialize serve set share ship show shrink shut simplify skip sleep ' +
    'slow solve sort spawn specify speed split spread start stay stop store stream strip subscribe support survive suspend switch synchronize take target tell terminate test throttle throw time tokenize trace track transfer ' +
    'transform transpile travel treat trigger trim truncate try turn type unpack unsubscribe update upgrade upload use validate vary verify visit wait walk want warn watch work wrap write yield').split(' '),
)

export function isCommonVerb(lemma: string): boolean {
  return VERBS.has(lemma)
}
