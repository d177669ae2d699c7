/** Property tests of machines with fast-check: events and values from zod schemas, and commands for a durable actor. */
export { schemaArbitrary } from './schema-arbitrary.js'
export { eventArbitrary, type EventArbitraryOptions, type EventsByType } from './event-arbitrary.js'
export { actorModel, ActorModelError, type ActorCommands, type ActorModel, type ActorModelOptions, type ActorModelState } from './actor-model.js'
