/** `holdfast/anthropic`: the models of Anthropic, through the package @anthropic-ai/sdk. */
export { anthropic, type AnthropicModel, type AnthropicOptions } from './anthropic-model.js'
