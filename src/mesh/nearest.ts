/** Which name may have been meant by one that there is not. */

/** `, did you mean …?`, if one of the names is near to what was given: at most a third of it is changed. */
export function meant(given: string, names: Iterable<string>): string {
  let nearest: string | undefined
  let least = Math.max(1, Math.floor(given.length / 3)) + 1
  for (const name of names) {
    const edits = given.toLowerCase() === name.toLowerCase() ? 0 : distance(given, name)
    if (edits < least) [nearest, least] = [name, edits]
  }
  return nearest === undefined ? '' : `, did you mean "${nearest}"?`
}

/** Edits between two words: characters to change, put in, take out or exchange with the next one. For words of a few letters. */
export function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1)
    }
    rows.push(row)
  }
  return rows[a.length]![b.length]!
}
