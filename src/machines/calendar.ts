/** Days and months of the Gregorian calendar, UTC, by arithmetic alone: charts have no clock, and no `Date` that could read one. */

const dayMs = 86_400_000

interface CivilDate {
  readonly year: number
  /** 1 to 12. */
  readonly month: number
  /** 1 to 31. */
  readonly day: number
}

/** Days from 1970-01-01; after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, eras have 400. */
function daysOf({ year, month, day }: CivilDate): number {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const ofEra = y - era * 400
  const ofYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  return era * 146_097 + ofEra * 365 + Math.floor(ofEra / 4) - Math.floor(ofEra / 100) + ofYear - 719_468
}

function civilOf(days: number): CivilDate {
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const ofEra = shifted - era * 146_097
  const year = Math.floor((ofEra - Math.floor(ofEra / 1_460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) / 365)
  const ofYear = ofEra - (365 * year + Math.floor(year / 4) - Math.floor(year / 100))
  const shiftedMonth = Math.floor((5 * ofYear + 2) / 153)
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  return { year: year + era * 400 + (month <= 2 ? 1 : 0), month, day: ofYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1 }
}

/** When the day ends in which `at` lies, ms. */
export function dayEnd(at: number): number {
  return (Math.floor(at / dayMs) + 1) * dayMs
}

/** When the month ends in which `at` lies, ms. */
export function monthEnd(at: number): number {
  const { year, month } = civilOf(Math.floor(at / dayMs))
  return daysOf(month === 12 ? { year: year + 1, month: 1, day: 1 } : { year, month: month + 1, day: 1 }) * dayMs
}

const padded = (value: number, digits: number): string => String(value).padStart(digits, '0')

/** `YYYY-MM-DD` of the day in which `at` lies. */
export function dateText(at: number): string {
  const { year, month, day } = civilOf(Math.floor(at / dayMs))
  return `${padded(year, 4)}-${padded(month, 2)}-${padded(day, 2)}`
}

/** Whether there is such a day, `YYYY-MM-DD`. */
export function isDateText(text: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return false
  const [year, month, day] = text.split('-').map(Number) as [number, number, number]
  return month >= 1 && month <= 12 && day >= 1 && dateText(daysOf({ year, month, day }) * dayMs) === text
}
