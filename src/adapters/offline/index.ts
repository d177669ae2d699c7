/**
 * A model that is no language model, and what its agents do: pure functions over text, the same on every machine, without a
 * key and without a network. Documents become an index, a question becomes sub-questions, an index and a
 * sub-question become findings; a critic judges them, what is refused is asked again, and what stands becomes a report.
 */
export { askFor, countTokens, offlineModel, type OfflineModelOptions, type Skill } from './offline-model.js'
export { planQuestion, type PlanOptions, type PlanStep } from './planner.js'
export { sentencesOf, type Document, type Sentence } from './markdown-prose.js'
export { buildIndex, questionTerms, searchPassages, type Passage, type PassageIndex, type QuestionTerm } from './retrieval.js'
export { indexDocuments } from './document-index.js'
export { research, type Evidence, type Finding, type ResearchInput } from './researcher.js'
export { excerptAround } from './quotation.js'
export { critique, type CritiqueInput, type RefusalReason, type Verdict } from './critic.js'
export { replanStep, type ReplanInput } from './replanner.js'
export { composeReport, sourceOf, type ReportInput, type ReportStep } from './writer.js'
export { standsAlone, whyNotAlone } from './standalone.js'
export { stemsOf, stemSetOf } from './stems.js'
