/** Plain English as it stands in handbooks, policies, runbooks and READMEs: what of it may be quoted alone, and what may not. */
import { describe, expect, test } from 'vitest'
import { critique, whyNotAlone } from '../../../src/adapters/offline/index.js'

/** Whether the critic, with rules of its own, lets the sentence stand alone. */
function critic(claim: string): boolean {
  return !critique({ question: claim, finding: { claim, path: 'a.md', line: 1 }, source: claim, accepted: [] }).reasons.includes('cannot-stand-alone')
}

const standing: Readonly<Record<string, readonly string[]>> = {
  'a passive, with or without its agent': [
    'Keys are rotated every ninety days by the platform team.',
    'Every key is rotated by the platform team each quarter.',
    'Access requests are approved by the owner of the system.',
    'Expense claims are checked by the finance team within a week.',
    'Old backups are deleted automatically after thirty days.',
    'The database is restored from the latest backup by the engineer on duty.',
    'A new laptop is ordered by the office manager before the first day.',
    'Production changes were frozen between 20 December and 2 January.',
  ],
  'an acronym or a department as its subject': [
    'The CEO signs contracts above 10,000 euros.',
    'The DPO answers requests for deletion within 30 days.',
    'HR keeps personnel files for ten years.',
    'IT replaces broken laptops within two working days.',
    'The CTO decides which vendors are used in production.',
    'The VPN requires a hardware token and a password.',
    'Marketing approves every press release before it goes out.',
    'Support closes tickets that have had no reply for ten days.',
  ],
  'a verb in the present plural': [
    'Engineers on call answer pages within five minutes.',
    'Managers approve leave requests in the HR portal.',
    'Contractors sign a non-disclosure agreement before they receive access.',
    "Backups run every night at two o'clock.",
    'Alerts page the engineer on call after five minutes.',
    'Employees accrue two days of leave per month.',
    'Customers pay invoices within 30 days of receipt.',
    'Visitors wear a badge in all buildings.',
    'Two reviewers read every change before it is merged.',
    'Most teams meet on Mondays at nine.',
    'Release managers cut a branch on the first Monday of each month.',
    'Nightly jobs copy the orders table to the warehouse.',
    'Staff in the Paris office work from eight to four.',
    'Payments above the limit wait for a second signature.',
    'People who work from home lock their screens.',
    'Security reviews take place twice a year.',
    'Leave requests need the approval of a manager.',
  ],
  'a verb in the present singular': [
    'The rota changes every Monday at noon.',
    'The service restarts itself after a crash.',
    'Data older than seven years gets deleted in January.',
    'The person on call carries a phone and a laptop.',
    'The lease of the Berlin office ends on 31 March 2027.',
    'An idle session ends after fifteen minutes.',
  ],
  'a modal verb': [
    'Employees must report a lost laptop within 24 hours.',
    'A contractor may not store customer data on a private device.',
    'Passwords should have at least sixteen characters.',
    'New employees can book training in the first month.',
    'The on-call engineer must acknowledge an alert within five minutes.',
    'Customer data shall not leave the European Union.',
    'Interns cannot approve purchases of any amount.',
  ],
  'a word of how many at its beginning': [
    'Only members of the security group may rotate a key.',
    'Only the CFO may approve payments above 50,000 euros.',
    'Only two people hold the keys to the server room.',
    'No employee may share a password with another person.',
    'No release goes out on a Friday afternoon.',
    'Every incident gets a written review within five days.',
    'Each team keeps its own runbooks in the wiki.',
    'All visitors sign in at the front desk.',
    'Nobody may enter the server room alone after midnight.',
    'Both the CEO and the CFO sign contracts above one million euros.',
    'Neither the agent nor the client may disclose the price.',
    'Anyone who finds a security flaw reports it to the security team.',
    'Twelve engineers share the rota for the payment service.',
  ],
  'an organisation that speaks of itself': [
    'Our support team answers within four hours on working days.',
    'Our offices close at six in the evening on Fridays.',
    'We delete inactive accounts after twelve months.',
    'We notify customers within 72 hours of a breach.',
    'Our finance department pays salaries on the 25th of each month.',
  ],
  'numbers and dates': [
    'The company was founded in 2009 by two engineers from Lisbon.',
    'Invoices above 500 euros need two signatures.',
    'The policy was last reviewed on 12 May 2024.',
    'On 1 January 2025 the retention period rises to seven years.',
    'In 2023 the board approved a budget of 4.2 million dollars.',
    'Refunds are paid within 14 days.',
  ],
  'a relative clause': [
    'The engineer who closes an incident writes the review.',
    'Accounts that have not been used for a year are disabled.',
    'Documents which contain personal data are stored in an encrypted folder.',
    'The person whose name stands on the ticket restarts the service.',
    'Requests that arrive after noon are answered the next day.',
  ],
  'a condition, a time or a purpose before its subject': [
    'After three failed logins the account is locked for an hour.',
    'During an outage the incident commander speaks to customers.',
    'If the primary database fails, the replica takes over within a minute.',
    'When a certificate expires, the platform team renews it.',
    'Before each release, the release manager tags the commit.',
    'At the end of each quarter, the auditors review the access logs.',
    'In an emergency, the shift lead may stop the production line.',
    'To open a new account, a customer must show a passport.',
  ],
  'a place or a reason': [
    'Spare keys are kept in the safe on the third floor.',
    'Logs are written to /var/log/app on every host.',
    'The emergency exit is at the end of the corridor.',
    'Questions about payroll go to payroll@example.com.',
    'Deployments stop on Fridays because few engineers work at weekends.',
    'Because few engineers work at weekends, deployments stop on Fridays.',
  ],
}

const leaning: Readonly<Record<string, readonly string[]>> = {
  'it opens by pointing back': [
    'This happens every ninety days in the platform team.',
    'They must report a lost laptop within 24 hours.',
    'It is rotated by the platform team each quarter.',
    'He signs contracts above 10,000 euros on Mondays.',
    'However, only the CFO may approve payments above 50,000 euros.',
    'For example, the CFO approves payments above 50,000 euros.',
    'Otherwise, the replica takes over within a minute.',
    'In this case the account is locked for an hour.',
    'These requests are answered by the support team.',
    'Their manager approves leave requests in the portal.',
    'After that, the auditors review the access logs.',
    'If not, the replica takes over within a minute.',
    'Such accounts are disabled after twelve months.',
    'Others are stored in an encrypted folder for a year.',
    'Both are stored in the safe on the third floor.',
    'Neither is stored in the safe on the third floor.',
    'Only then may the release manager tag the commit.',
    'Only these members of the group may rotate a key.',
    'Only if it fails does the replica take over.',
    'No, the support team does not answer on Sundays.',
    'First, the release manager tags the commit and waits.',
    'The same applies to contractors and to interns.',
    'The former are kept in the safe on the third floor.',
    'And then the engineer restarts the service.',
  ],
  'it is a fragment': [
    'Members of the security group on the third floor.',
    'A key for every member of the security group.',
    'Rotated every ninety days by the platform team.',
    'Answered within four hours on all working days.',
    'Because few engineers work at weekends and holidays.',
    'Which is why few engineers work at weekends.',
    'When the certificate expires on a public holiday.',
    'The engineer who closes an incident within a day.',
    'Accounts that have not been used for a whole year.',
    'Every key that is rotated by the platform team.',
    'The number of engineers who answer pages at night.',
    'Keys rotated by the platform team in every quarter.',
    'Engineers on call for the payment service at night.',
    'Responsible for the rotation of all keys in production.',
    'Owns the rotation of all keys in production.',
    'A team of engineers answering pages at night.',
  ],
  'it is a heading': [
    'Rotation of Keys and Certificates in Production.',
    'How the Platform Team Rotates Keys in Production.',
    'Section 4.2: Rotation of keys by the platform team.',
    'Frequently asked questions about leave and travel.',
  ],
  'it is an instruction': [
    'Restart the service when its memory exceeds 90%.',
    'Report a lost laptop to the security team at once.',
    'Please report a lost laptop to the security team.',
    'Never share a password with a colleague or a friend.',
    'Make sure that the replica takes over within a minute.',
    'Contact the security team if a laptop is lost or stolen.',
  ],
  'it is a line of a list of changes': [
    'Fixed a crash that occurred when a key was rotated.',
    'Added support for keys that are rotated every quarter.',
    'feat: keys are rotated by the platform team each quarter.',
    'v2.1.0 - Keys are rotated every quarter by the platform team.',
    'Bump lodash from 4.17.20 to 4.17.21 in /packages/core.',
    'Merge pull request #42 from platform/rotate-all-keys.',
    'Removes the deprecated option for the rotation of keys.',
  ],
  'it praises or presents itself': [
    'We are proud to serve over 10,000 happy customers.',
    "We believe that security is everybody's responsibility.",
    'I wrote the runbook because nobody else wanted to.',
    'We love open source and hope that you will, too.',
    'Our mission is to make the rotation of keys delightful.',
    'We would love to hear from you about your experience.',
    "Let's look at how the platform team rotates keys.",
    'In our example, the platform team rotates the keys.',
    'Our library is the fastest way to rotate keys.',
    'We can now rotate the keys of the platform team.',
  ],
  'it points elsewhere or asks': [
    'The steps for the rotation of a key are listed below.',
    'See the runbook for the steps that rotate a key.',
    'The rota is described in the next section of the handbook.',
    'Does the platform team rotate keys every ninety days?',
    'The platform team rotates the following keys:',
    'The platform team rotates keys in these regions.',
  ],
}

describe.each(Object.entries(standing))('with %s, a sentence stands alone', (_, sentences) => {
  test.each(sentences)('%s', (text) => {
    expect(whyNotAlone(text)).toBeUndefined()
    expect(critic(text)).toBe(true)
  })
})

describe.each(Object.entries(leaning))('it does not, if %s', (_, sentences) => {
  test.each(sentences)('%s', (text) => {
    expect(whyNotAlone(text)).toBeDefined()
  })
})
