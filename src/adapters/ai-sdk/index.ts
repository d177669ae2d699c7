/** `holdfast/ai-sdk`: any model of the AI SDK (`ai` 6 and 7). Needs no package beside the provider's own. */
export { aiSdk, type AiSdkOptions } from './ai-sdk-model.js'
export type { AiSdkCall, AiSdkLanguageModel, AiSdkProvider } from './language-model.js'
