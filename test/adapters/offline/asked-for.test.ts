/** A question word asks for a kind of answer, and "what happens when" for a case: the critic demands them, the researcher prefers them. */
import { describe, expect, test } from 'vitest'
import { buildIndex, composeReport, critique, questionTerms, replanStep, research, searchPassages, sentencesOf, type Finding, type Verdict } from '../../../src/adapters/offline/index.js'

function judge(question: string, claim: string): Verdict {
  return critique({ question, finding: { claim, path: 'docs/a.md', line: 3 }, source: `# Notes\n\n${claim}\n`, accepted: [] })
}

function find(question: string, ...sentences: readonly string[]): readonly Finding[] {
  const index = buildIndex(sentencesOf({ path: 'docs/a.md', text: sentences.join('\n\n') }))
  return research({ question, passages: searchPassages(index, question, 40), terms: questionTerms(index, question) })
}

const mostSure = (findings: readonly Finding[]): string | undefined => findings.toSorted((one, other) => other.confidence - one.confidence)[0]?.claim

describe('an answer of the kind asked for is accepted', () => {
  test.each([
    ['Who may rotate keys?', 'Only members of the security group may rotate a key.'],
    ['Who rotates keys?', 'Every key is rotated by the platform team each quarter.'],
    ['Who signs contracts?', 'The CEO signs contracts above 10,000 euros.'],
    ['Who answers pages?', 'Engineers on call answer pages within five minutes.'],
    ['Who wrote Redis?', 'Redis was written by Salvatore Sanfilippo in 2009.'],
    ['Who enters the server room?', 'Nobody may enter the server room alone after midnight.'],
    ['Who is the data protection officer?', 'The data protection officer of the group is Ann Lee.'],
    ['Who deletes inactive accounts?', 'We delete inactive accounts after twelve months.'],
    ['Which team renews certificates?', 'Certificates are renewed by the platform team.'],
    ['By whom are leave requests approved?', 'Managers approve leave requests in the HR portal.'],
    ['Who renews licences?', 'IT renews all licences of the office in January.'],
    ['When are keys rotated?', 'Keys are rotated every ninety days by the platform team.'],
    ['When is the account locked?', 'After three failed logins the account is locked.'],
    ['When was the policy reviewed?', 'The policy was last reviewed on 12 May 2024.'],
    ['When do the offices close?', 'Our offices close at six in the evening on Fridays.'],
    ['When do backups run?', 'Backups run at 02:15 on the standby of the database.'],
    ['With the queue, when are messages deleted?', 'The queue deletes messages once they are confirmed.'],
    ['Where are spare keys kept?', 'Spare keys are kept in the safe on the third floor.'],
    ['Where are logs written?', 'Logs are written to /var/log/app by every host.'],
    ['Where do questions about payroll go?', 'Questions about payroll go to payroll@example.com.'],
    ['Where did the old archive move?', 'The old archive moved to Leeds in June 2019.'],
    ['How many engineers share the rota?', 'Twelve engineers share the rota for the payment service.'],
    ['How often are logs rotated?', 'Logs are rotated daily and compressed by the host.'],
    ['How fast does the support team answer?', 'Our support team answers within four hours on working days.'],
    ['Why do deployments stop on Fridays?', 'Deployments stop on Fridays because few engineers work at weekends.'],
    ['Why are keys rotated?', 'Keys are rotated to limit the damage of a leak.'],
    ['Why are logs kept?', 'The logs are kept for legal reasons by every host.'],
  ])('%s %s', (question, claim) => {
    expect(judge(question, claim).reasons).toEqual([])
  })
})

describe('an answer of another kind is refused', () => {
  test.each([
    ['person, role or group', 'Who may rotate keys?', 'A rotation of keys begins at midnight and ends when all old keys are revoked.'],
    ['person, role or group', 'Who rotates keys?', 'Keys are rotated every ninety days in production.'],
    ['person, role or group', 'Who approves leave requests of employees?', 'Leave requests of employees are approved in the portal.'],
    ['person, role or group', 'Who rotates keys?', 'Keys are rotated for each customer every ninety days.'],
    ['person, role or group', 'Who writes the log?', 'The server writes the log to a disk every night.'],
    ['time or occasion', 'When are keys rotated?', 'Keys are rotated by members of the platform team.'],
    ['time or occasion', 'When are contracts signed?', 'The CEO signs contracts above 10,000 euros.'],
    ['place', 'Where are keys kept?', 'Keys are kept for ninety days by the platform team.'],
    ['place', 'Where are logs kept?', 'The logs are kept for a year in general.'],
    ['place', 'Where are keys kept in production?', 'Keys in production are kept by the platform team.'],
    ['place', 'Where are alerts sent?', 'The alerts are sent at nine on Mondays.'],
    ['quantity', 'How many engineers share the rota?', 'Engineers share the rota for the payment service.'],
    ['reason', 'Why are keys rotated?', 'Keys are rotated every ninety days by the platform team.'],
    ['reason', 'Why do deployments stop?', 'The deployments stop on Fridays at noon.'],
  ])('it names no %s: %s %s', (kind, question, claim) => {
    const verdict = judge(question, claim)
    expect(verdict.reasons).toEqual(['does-not-answer'])
    expect(verdict.explanation).toContain(`names no ${kind}, which the question asks for`)
  })

  test('and the question is not asked again without its question word', () => {
    const tried = ['Who rotates the old keys of the archive at night?']
    for (let form = tried[0]; form !== undefined; form = replanStep({ question: form, tried, reasons: ['does-not-answer'], accepted: [], passages: [] })) {
      expect(form).toMatch(/^Who /)
      if (!tried.includes(form)) tried.push(form)
    }
    expect(tried.length).toBeGreaterThan(1)
  })
})

describe('asked what happens in a case', () => {
  const question = 'What happens when a cache entry is expired?'

  test.each([
    'An expired entry of the cache is deleted at its next read.',
    'When an entry of the cache expires, the timer is stopped.',
    'The timer of the cache is stopped once an entry has expired.',
    'The cache calls a function on expiration of an entry.',
    'The cache writes to the log each time that an entry expires.',
  ])('a sentence that speaks of the case is accepted: %s', (claim) => {
    expect(judge(question, claim).reasons).toEqual([])
  })

  test.each([
    'Using a large size for its entries, the expiration cache holds a sum of values.',
    'The cache holds each entry and all of the expired timers.',
    'The cache stores an entry of the server, so that no lease expires.',
  ])('one that has only its words is refused: %s', (claim) => {
    const verdict = judge(question, claim)
    expect(verdict.reasons).toEqual(['does-not-answer'])
    expect(verdict.explanation).toContain('does not speak of the case asked about, "a cache entry is expired"')
  })
})

describe('the surest finding', () => {
  test.each([
    ['holds the kind of answer asked for', 'Who rotates old keys?', 'Old keys are rotated by the platform team at the end of a quarter.', 'Old keys are rotated when they are found in a public archive.'],
    ['has the case as its condition', 'What happens when a lease expires?', 'The worker of the queue stops at once when its lease expires.', 'The queue stores how quickly a lease expires in a table.'],
    ['says what happens, not what a thing is', 'What happens when a lease is expired?', 'An expired lease is given to the next worker of the queue.', 'An expired lease is a lease without a worker of the queue.'],
    ['is about what the question asks of', 'How does the scheduler assign workers?', 'The scheduler of a server assigns the workers by their age and by their load.', 'Names are assigned to the scheduler and to workers.'],
  ])('%s: %s', (_, question, better, other) => {
    expect(mostSure(find(question, other, better))).toBe(better)
    expect(mostSure(find(question, better, other))).toBe(better)
  })
})

test('what answers a question only in other words does not answer it in short', () => {
  const findings = [{ claim: 'One is a number.', path: 'a.md', line: 1 }, { claim: 'Two is a number.', path: 'a.md', line: 2 }]
  expect(composeReport({ question: 'What?', steps: [{ question: 'What is one?', findings }] })).toContain('## In short')
  expect(composeReport({ question: 'What?', steps: [{ question: 'What is one?', askedAs: 'What is two?', findings }] })).not.toContain('## In short')
})
