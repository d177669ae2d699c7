/** Which sentences can be read without what stood around them, and what counts as the content of a text. */
import { describe, expect, test } from 'vitest'
import { standsAlone, stemSetOf, stemsOf, whyNotAlone } from '../../../src/adapters/offline/index.js'

describe('a sentence stands alone', () => {
  test.each([
    'The cache keeps entries in memory until they expire.',
    'By default, ioredis will try to reconnect when the connection to Redis is lost.',
    'When the connection to the server is lost, the client reconnects after a delay.',
    'lmdb stores its data in a file that is mapped into memory.',
    'Commands that wait for an answer are sent again after the client has reconnected.',
    'A version range is a set of comparators that specify versions that satisfy the range.',
    'Colors are enabled when stderr is a TTY and disabled in a pipe.',
    'The library helps those who want every type of a schema to be inferred.',
  ])('%s', (text) => {
    expect(whyNotAlone(text)).toBeUndefined()
    expect(standsAlone(text)).toBe(true)
  })
})

describe('a sentence does not stand alone', () => {
  test.each([
    ['opens by pointing back', 'This keeps the entries of the cache in memory.'],
    ['opens by pointing back', 'However, the cache keeps all of its entries in memory.'],
    ['opens by pointing back', 'For example, the cache keeps its entries in memory.'],
    ['opens by pointing back', 'If omitted, the cache keeps all of its entries in memory.'],
    ['opens by pointing back', 'It keeps the entries of the cache in memory at all times.'],
    ['points to another place of the document', 'The cache keeps its entries in memory as shown in the table below.'],
    ['points to another place of the document', 'The entries of the cache are described in the next section.'],
    ['speaks for its author', 'We think that the cache keeps its entries in memory.'],
    ['speaks of the project and not of its subject', 'The cache is open to pull requests from all of its users.'],
    ['is a reference to an address', 'The cache and its entries are described at https://example.com/cache.'],
    ['is an aside', '(The cache keeps all of its entries in memory, if you wonder.)'],
    ['has an aside in place of a noun', 'Using a (the default) cache keeps all of the entries in memory.'],
    ['is an instruction without a subject', 'Store the entries of the cache in memory or on a disk.'],
    ['is an instruction without a subject', 'Please keep the entries of the cache in memory.'],
    ['has no subject', 'Returns true if the cache holds an entry of that name.'],
    ['has no subject', 'Defaults to keeping the entries of the cache in memory.'],
    ['has no main clause', 'A very small cache for the entries of a server in memory.'],
    ['has no main clause', 'A build command that bundles the code, pre-configured to output highly optimized static assets.'],
    ['is a question or an instruction', 'Can be set to keep the entries of the cache in memory.'],
    ['has no main clause', 'The number of entries that the cache keeps in its memory.'],
    ['is an entry of a list of terms', 'maxEntries - the number of entries that the cache keeps in memory.'],
    ['is an entry of a list of terms', 'maxEntries: the cache keeps at most that number of entries.'],
    ['begins in the middle of a sentence', 'keeps the entries of the cache in memory until they expire.'],
    ['does not end like a statement', 'Does the cache keep the entries of the server in memory?'],
    ['does not end like a statement', 'The cache keeps the entries of the server in memory and ...'],
    ['has unbalanced brackets or quotes', 'The cache (and its entries are kept in the memory of the server.'],
    ['leaves open what "these" means', 'The cache keeps its memory small with these options of the server.'],
    ['leaves open what "them" means', 'Among them, the cache keeps the entries of the server.'],
    ['is too short', 'The cache keeps entries.'],
    ['is too long', `The cache keeps ${'many different '.repeat(30)}entries in memory.`],
  ])('%s: %s', (why, text) => {
    expect(whyNotAlone(text)).toBe(why)
    expect(standsAlone(text)).toBe(false)
  })
})

describe('content stems', () => {
  test.each<readonly [string, string, readonly string[]]>([
    ['forms of a word are one', 'lose loses losing lost', ['lose', 'lose', 'lose', 'lose']],
    ['stop words and words that say nothing are out', 'it is said that the one thing may also just be, for example, please', []],
    ['numbers stay, single letters go', 'a b 5 x 250', ['5', '250']],
    ['a name in code counts as its parts', 'maxRetriesPerRequest TypeScript', ['max', 'retri', 'request', 'typescript']],
    ['what does something is what it does', 'parser parsers logger validators server', ['pars', 'pars', 'log', 'valid', 'server']],
    ['a prefix may have a hyphen', 'pre-release prerelease re-connects', ['prereleas', 'prereleas', 'reconnect']],
    ['other scripts are words too', 'кэш 缓存', ['кэш', '缓存']],
  ])('%s', (_, text, expected) => {
    expect(stemsOf(text)).toEqual(expected)
    expect([...stemSetOf(text)]).toEqual([...new Set(expected)])
  })
})
