/**
 * What the provider says about a failure, made safe to store. Its message is worth having ("max_tokens: 300000 > 128000")
 * and may quote anything of the request, in any encoding; so only words of the API's own language pass, and numbers of up
 * to nine digits that the prompt does not hold. Everything else becomes an ellipsis. What is left cannot carry a key or
 * a prompt.
 */

const WORDS = new Set(
  `a access additional additionalproperties allowed already an and anthropic any api apply array assistant at authentication available balance be been
  between billing blank block blocked blocks body but by bytes cache cache_control can cannot characters check complex configured connection const content
  context control conversation credit credits current days defs description different disabled does duplicate each either empty end ephemeral error
  exceed exceeded exceeds exist expected expired explicitly extra failed false few field fields filtering first following for format forbidden found
  from gateway go grammar has have header headers hour if in input inputs integer internal invalid is it items its json json_schema key large least length
  limit limits list long low many max max_tokens maximum may message messages minimum minute missing model month more most must name need network no
  non-empty non-whitespace not null number object of on one only or organization organization's other output output_config overloaded parameter parse
  per permission permitted plan plans please policy properties prefill prompt provided purchase quota rate reached requested request_body request request_id
  request_too_large requests require required requires resource retry role roles row schema seconds see server service set should size spend stop stream
  streaming string support supported supports system temporarily text than that the this thinking time timed to token tokens too try type unauthorized
  unavailable unexpected unknown unsupported up upgrade usage use used user valid value version was we when which will with workspace would x-api-key you
  your`.split(/\s+/),
)

/** Characters of a message that are looked at. */
const LENGTH_MAX = 400

/**
 * @param isOfPrompt whether a number stands in the prompt
 * @returns the message without anything that could be the caller's; empty if nothing is left that says something
 */
export function providerWords(message: string, model: string, isOfPrompt: (number: string) => boolean): string {
  const shown: string[] = []
  let words = 0
  for (const token of message.slice(0, LENGTH_MAX).split(/\s+/)) {
    const [, before = '', core = '', after = ''] = /^([("'`>=<]{0,2})(.*?)([)"'`:;,.]{0,3})$/.exec(token) ?? []
    const isSafe = core === '' || core === model || (isNumber(core) ? !isOfPrompt(core) && !isOfPrompt(core.replaceAll(',', '')) : isOfTheAPI(core))
    if (isSafe) {
      shown.push(before + core + after)
      if (/[a-z]/i.test(core)) words++
    } else if (shown.at(-1) !== '…') {
      shown.push('…')
    }
  }
  return words >= 2 ? shown.join(' ').trim() : ''
}

const isNumber = (text: string): boolean => /^\d{1,3}(,\d{3}){1,3}$|^\d{1,9}$/.test(text)

/** A word, or a path such as `messages.0.content`. */
function isOfTheAPI(core: string): boolean {
  const parts = core.toLowerCase().split(/[./]/)
  return parts.every((part, at) => WORDS.has(part) || (/^\d{1,3}$/.test(part) && WORDS.has(parts[at - 1] ?? '')))
}
