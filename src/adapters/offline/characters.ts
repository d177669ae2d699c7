/**
 * Characters that have no place in a report, since they would hide, reorder or break what a person reads: controls, lone
 * surrogates, marks that set the direction of text, invisible characters, private use, and pictures (emoji).
 */
const UNWANTED =
  /[\p{Cc}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\p{Regional_Indicator}\p{Emoji_Modifier}\ufff9-\ufffd]|\u20e3|(?=[\u2300-\u{1ffff}])\p{Extended_Pictographic}/u
const ALL_UNWANTED = new RegExp(UNWANTED, 'gu')

/** @param char one code point */
export function isUnwanted(char: string): boolean {
  return UNWANTED.test(char)
}

/** One line of clean text: white space runs become one space, unwanted characters go. */
export function cleanLine(text: string): string {
  return text.replace(/\s+/g, ' ').replace(ALL_UNWANTED, '').replace(/ {2,}/g, ' ').trim()
}
