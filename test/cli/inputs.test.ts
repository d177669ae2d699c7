/** What a run reads of the files that it is given: pages of HTML, encodings, folders of all kinds, and what it must refuse. */
import { mkdir, mkdtemp, open, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fc, test as propertyTest } from '@fast-check/vitest'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { textOfHtml } from '../../src/cli/research/html.js'
import { collectInputs, filesMax, packFiles, packedFile, readText, skippedMax, unpackFiles } from '../../src/cli/research/inputs.js'

const folders: string[] = []
let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-inputs-'))
  folders.push(folder)
})
afterAll(() => Promise.all(folders.map((path) => rm(path, { recursive: true, force: true }))))

const put = async (path: string, content: string | Buffer): Promise<string> => {
  const absolute = join(folder, path)
  await mkdir(join(absolute, '..'), { recursive: true })
  await writeFile(absolute, content)
  return absolute
}
const textOf = async (path: string, content: string | Buffer): Promise<unknown> => {
  const read = await readText(await put(path, content))
  return 'reason' in read ? read.reason : [read.encoding, read.text]
}

describe('a page of HTML', () => {
  test('says its title, headings, paragraphs, lists, tables and code, on the lines on which they stand', () => {
    const html = `<!DOCTYPE html>
<html><head><title>Keys &amp; locks</title>
<style>p { color: red }</style>
<script>
  const secret = "<p>no</p>"
</script></head>
<body><nav><a href="/">Home</a></nav>
<h1>Rotation</h1>
<p>Keys rotate
every <b>90</b> days.</p>
<ul><li>First item
<li>Second &eacute;l&egrave;ve</ul>
<table><tr><th>Key</th><th>Age</th></tr>
<tr><td>a</td><td>3</td></tr></table>
<pre>
  let x = 1
</pre>
<!-- a comment
over two lines -->
<p>The end.</p></body></html>
`
    expect(textOfHtml(html).split('\n')).toEqual([
      '', '# Keys & locks', '', '', '', '', '', '# Rotation', 'Keys rotate', 'every 90 days.', '- First item', '- Second élève', 'Key | Age', 'a | 3', '', '  let x = 1', '', '', '', 'The end.', '',
    ])
  })

  test('on one line becomes lines of its own', () => {
    expect(textOfHtml('<h2>A</h2><p>One.</p><p>Two<br>three.</p><div>Four</div>five').split('\n')).toEqual(['## A', 'One.', 'Two', 'three.', 'Four', 'five'])
  })

  propertyTest.prop([fc.array(fc.constantFrom('<p>', '</p>', '<div>', '<script>', '</script>', '<nav>', '</nav>', '<title>', '<pre>', '</pre>', '<li>', 'Word. ', '\n', '&lt;', '<td>', '<', '<!--', '-->', '<head>', '</head>'), { maxLength: 40 })])('however broken, never throws, and shows no text above its line', (parts) => {
    const html = parts.join('')
    const lines = textOfHtml(html).split('\n')
    const first = lines.findIndex((line) => line.includes('Word'))
    if (first >= 0) expect(first).toBeGreaterThanOrEqual(html.slice(0, html.indexOf('Word')).split('\n').length - 1)
  })

  const page = (body: string): string => `<html><head><title>Key policy</title></head><body>${body}</body></html>`
  const said = (html: string, path?: string): string[] => textOfHtml(html, path).split('\n').filter((line) => line !== '')

  test.each([
    ['a form around the whole page', page('<form><p>Keys are rotated.</p></form>'), ['# Key policy', 'Keys are rotated.']],
    ['controls of a form', page('<form><label>Name</label><input value="x"><select><option>One</select><textarea>Two</textarea><button>Go</button><p>Keys are rotated.</p></form>'), ['# Key policy', 'Name', 'Keys are rotated.']],
    ['a heading that is a button, as of an accordion', page('<h3><button>How often?</button></h3><div>Every ninety days.</div>'), ['# Key policy', '### How often?', 'Every ninety days.']],
    ['a head that ends where its body begins, unsaid', '<!DOCTYPE html><title>Key policy</title><head><style>p {}</style><p>Keys are rotated.', ['# Key policy', 'Keys are rotated.']],
    ['navigation that nobody closed', page('<header>Rules</header><nav><a>Home</a><main><p>Keys are rotated.</p></main>'), ['# Key policy', 'Rules', 'Keys are rotated.']],
    ['what stands beside the text', page('<header>A</header><article><header>B</header><aside>C</aside><details><summary>D</summary>E</details><dialog open>F</dialog><footer>G</footer></article>'), ['# Key policy', 'A', 'B', 'C', 'D', 'E', 'F', 'G']],
    ['words for who has no scripts, and navigation, beside text', page('<nav>Home</nav><noscript>Turn on scripts.</noscript><p>Keys are rotated.</p>'), ['# Key policy', 'Keys are rotated.']],
    ['words for who has no scripts, and nothing else', page('<script>draw()</script><noscript><p>Keys are rotated.</p></noscript>'), ['# Key policy', 'Keys are rotated.']],
    ['a picture with words, and nothing else', page('<svg><text>Keys</text></svg>'), ['# Key policy']],
  ])('with %s says its text', (_, html, expected) => {
    expect(said(html)).toEqual(expected)
  })

  const withScript = '<head><script src="a.js"/><title/></head>\n<body><iframe src="b"/><div/><p>Keys are rotated.</p>\n<pre><![CDATA[a < b]]></pre><p>&Eacute;l&egrave;ve</p><script>if (a < b) c()</script></body></html>'
  test.each([
    ['by its name', '<html>', 'a.xhtml'],
    ['by its declaration', '<?xml version="1.0"?><html>', 'a.html'],
    ['by its declaration alone', '<?xml version="1.0"?>\n<html>', ''],
    ['by its doctype', '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd"><html>', 'a.html'],
    ['by its namespace', '<html lang="en" xmlns="http://www.w3.org/1999/xhtml">', 'a.html'],
  ])('that is XML %s has elements that close themselves', (_, start, path) => {
    expect(said(`${start}${withScript}`, path)).toEqual(['Keys are rotated.', 'a < b', 'Élève'])
  })

  test('that is no XML has none: only one that would say nothing is read as if it had', () => {
    expect(said('<p>One.</p><script src="a.js"/><p>Two.</p></script><p>Three.</p>', 'a.html')).toEqual(['One.', 'Three.'])
    expect(said(page('<div/><nav/><p>Keys are rotated.</p>'), 'a.html')).toEqual(['# Key policy', 'Keys are rotated.'])
    expect(said('<html><head><title>Key policy</title><script src="a.js"/></head><body><p>Keys are rotated.</p></body></html>', 'a.html')).toEqual(['# Key policy', 'Keys are rotated.'])
  })

  const around = ['<form>', '<form><div>', '<div/>', '<nav>', '<aside>', '<header>', '<footer>', '<details>', '<dialog>', '<noscript>', '<template>', '<object>', '<button>', '<label>', '<fieldset>', '<head>', '<main>', '<canvas>', '<section/>', '<p>', '<table><tr><td>', '<script src="a.js"></script>', '<style>p {}</style>', '</div>', '</form>', '\n']
  propertyTest.prop([fc.array(fc.constantFrom(...around), { maxLength: 12 }), fc.constantFrom('<html>', '<!DOCTYPE html>', '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">'), fc.boolean()])('is never empty when it has prose, whatever stands around that, and has it on its line', (parts, start, isTitled) => {
    const html = `${start}${isTitled ? '<title>Key policy</title>' : ''}${parts.join('')}<p>Keys are rotated.</p>`
    const lines = textOfHtml(html).split('\n')
    expect(lines.findIndex((line) => line.includes('Keys are rotated.'))).toBeGreaterThanOrEqual(html.split('\n').length - 1)
  })

  test('of four megabytes and a hundred thousand lines is read', async () => {
    const read = await readText(await put('big.html', `<html><body>${'<p>A line of words.</p>\n'.repeat(120_000)}</body></html>`))
    expect('text' in read && read.text.split('\n').length).toBe(120_001)
  })
})

describe('a file', () => {
  test('is read in the encoding that it has', async () => {
    const utf16be = Buffer.from('Grüße', 'utf16le').swap16()
    expect(await textOf('a.txt', 'Grüße')).toEqual(['UTF-8', 'Grüße'])
    expect(await textOf('b.txt', '\uFEFFGrüße')).toEqual(['UTF-8', 'Grüße'])
    expect(await textOf('c.txt', Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from('Grüße', 'utf16le')]))).toEqual(['UTF-16', 'Grüße'])
    expect(await textOf('d.txt', Buffer.concat([Buffer.from([0xfe, 0xff]), utf16be]))).toEqual(['UTF-16', 'Grüße'])
    expect(await textOf('e.txt', Buffer.from('Grüße an alle', 'latin1'))).toEqual(['Windows-1252', 'Grüße an alle'])
    expect(await textOf('f.txt', Buffer.from([0x93, 0x61, 0x94, 0x20, 0x80]))).toEqual(['Windows-1252', '“a” €'])
    expect(await textOf('g.html', Buffer.from('<meta charset="koi8-r"><p>\xf0\xd2\xc9\xd7\xc5\xd4</p>', 'latin1'))).toEqual(['koi8-r', 'Привет'])
    expect(await textOf('i.xhtml', '<html><script src="a.js"/><p>Grüße</p></html>')).toEqual(['UTF-8', 'Grüße'])
    expect(await textOf('j.txt', '<?xml version="1.0"?>\n<html><p>Grüße</p></html>')).toEqual(['UTF-8', '\nGrüße'])
    expect(await textOf('h.html', Buffer.from('<meta charset="no-such"><p>Gr\xfc\xdfe</p>', 'latin1'))).toEqual(['Windows-1252', 'Grüße'])
  })

  test('that is no text, or empty, or too large, or gone is refused with its reason', async () => {
    expect(await textOf('a.md', Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 0, 0, 1]))).toBe('binary')
    expect(await textOf('b.md', Buffer.from(Array.from({ length: 400 }, (_, i) => 1 + (i % 255))))).toBe('binary')
    expect(await textOf('c.md', ' \n\t')).toBe('empty')
    expect(await textOf('d.html', '<html><script>let x</script></html>')).toBe('empty')
    expect(await readText(join(folder, 'nothing.md'))).toEqual({ reason: 'gone' })
    expect(await readText(folder)).toEqual({ reason: 'no file' })
    const huge = join(folder, 'huge.md')
    await (await open(huge, 'w')).close()
    await truncate(huge, 200 * 1_048_576)
    expect(await readText(huge)).toEqual({ reason: 'too large: 200 MB, and 4 MB are the most' })
  })
})

describe('folders', () => {
  test('are looked through to the bottom, without hidden ones, node_modules and links, which are named', async () => {
    await put('a.md', 'A.')
    await put('x/y/z/deep.html', '<p>Deep.</p>')
    await put('x/.hidden/b.md', 'B.')
    await put('x/node_modules/c.md', 'C.')
    await put('x/picture.png', 'no document')
    await put('bytes.txt', Buffer.from([0, 1, 2]))
    await symlink(folder, join(folder, 'x/circle'))
    await symlink(join(folder, 'a.md'), join(folder, 'x/linked.md'))
    const { files, skipped, skippedCount } = await collectInputs(['.'], folder)
    expect(files.map(({ path }) => path)).toEqual(['a.md', 'x/linked.md', 'x/y/z/deep.html'])
    expect(skipped).toEqual([
      { path: 'bytes.txt', reason: 'binary' },
      { path: 'x/circle', reason: 'a link to a folder; name the folder itself' },
    ])
    expect(skippedCount).toBe(2)
  })

  test('of 10,000 files are read, and of one more are refused; what is skipped is named up to a number', async () => {
    for (let i = 0; i < 100; i++) await Promise.all(Array.from({ length: 100 }, (_, j) => put(`d${i}/f${j}.md`, i === 0 ? '' : `File ${i} ${j}.`)))
    const { files, skipped, skippedCount } = await collectInputs(['.'], folder)
    expect([files.length, skipped.length, skippedCount]).toEqual([filesMax - 100, skippedMax, 100])
    const packed = packFiles(files)
    expect(unpackFiles(packed)).toEqual(files)
    expect(files.filter((file) => packedFile(packed, file.path)?.digest !== file.digest)).toEqual([])
    expect([packedFile(packed, 'd1/f.md'), packedFile(packed, 'no/f0.md')]).toEqual([undefined, undefined])
    expect(JSON.stringify(packed).length).toBeLessThan(500_000)
    await put('one-more.md', 'One.')
    await expect(collectInputs(['.'], folder)).rejects.toThrow(`These are ${filesMax + 1} files; a run reads ${filesMax} at most. Name a smaller folder.`)
  })

  test('with nothing to read, or that are not there, are refused and say why', async () => {
    await expect(collectInputs(['.'], folder)).rejects.toThrow('There is nothing to read: no document (.md, .txt, .rst, .html …) is in there.')
    await expect(collectInputs(['no/such'], folder)).rejects.toThrow('There is no file or folder no/such.')
    for (let i = 0; i < 7; i++) await put(`e${i}.md`, '')
    await expect(collectInputs(['.'], folder)).rejects.toThrow('There is nothing to read: e0.md is empty, e1.md is empty, e2.md is empty, e3.md is empty, e4.md is empty, and 2 more.')
  })
})
