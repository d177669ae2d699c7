/**
 * Holdfast: XState v5 machines as durable actors.
 *
 * In the order in which a newcomer should read it: the system, the actor, what a machine may ask for, the errors, and
 * the ports for those who bring their own store.
 */
export { createActorSystem, ActorSystem, type ActorSystemOptions, type SystemRole } from './runtime/system.js'
export type { ActorPage, ActorQuery, FoundActor } from './runtime/find.js'
export { ActorHandle, type ActorFailure, type AskOptions, type WaitOptions } from './runtime/actor.js'
export type { SendOptions } from './runtime/gateway.js'
export { createClient, type Client, type ClientOptions } from './runtime/client.js'
export type { MachineOptions } from './runtime/machines.js'
export { replay, type Difference, type Divergence, type Replay, type ReplayOptions, type ReplayedTurn } from './runtime/replay.js'
export type { ActorHistory, HistoryBase, HistoryInput, HistoryOptions, HistoryTurn } from './runtime/history.js'
export type { Inspect } from './runtime/inspection.js'
export type { RuntimeOptions } from './runtime/options.js'
export { cancelMove, moveNamespace, reopenMoved, type MoveOptions, type MoveProgress, type MoveReport, type ReopenOptions } from './runtime/move.js'
export type { StreamRecord } from './runtime/streams.js'
export type { DeadLetter, DeadLetterPage, DeadLetterQuery, RedriveResult } from './runtime/dead-letters.js'
export type { Parked } from './runtime/envelope.js'
export type { DrainHandler, StreamDrain } from './runtime/stream-drain.js'
export {
  append,
  atMostOnce,
  durableChild,
  external,
  fromAsk,
  isOutcomeUnknown,
  refTo,
  repeatable,
  reply,
  restartDurableChild,
  sendToDurableChild,
  stopDurableChild,
  type Ask,
  type ChildFact,
  type EffectArgs,
  type ExternalAction,
  type MessageRefused,
  type Reconciled,
  type ReplyToken,
  type RestartChild,
  type StartChild,
  type StreamEntry,
} from './protocol.js'
export { createMesh, Mesh, type MeshOptions, type StartRun } from './mesh/mesh.js'
export type { BudgetStatus } from './mesh/tenant-budget.js'
export { budgetMachine, type BudgetPolicy, type BudgetWindow } from './machines/budget.machine.js'
export { allotmentMachine } from './machines/allotment.machine.js'
export { defaultBreaker, circuitBreakerMachine, type BreakerPolicy } from './machines/circuit-breaker.machine.js'
export { defaultLimit, limiterMachine, type LimitPolicy } from './machines/limiter.machine.js'
export type { BulkheadPolicy } from './mesh/bulkhead-stock.js'
export type { PolicyScope, Refusal } from './machines/permit.js'
export type { CallsOf, ExplainedModel, ExplainedTool, PolicyControl } from './mesh/policy-control.js'
export type { PolicySource } from './mesh/ports/policy-source.js'
export { defaultCallPolicy, type CallPolicy, type FallbackStep } from './machines/call-policy.js'
export type { Stop } from './machines/policies.machine.js'
export type { EffectiveCall, EffectivePolicy, PolicyIssue, PolicyOptions } from './mesh/policies.js'
export { defineAgent, type AgentDefinition, type AgentOptions, type ExternalActionOptions, type GatherArgs, type Prompt } from './mesh/define-agent.js'
export { WindowError, type Compaction, type CompactedPart, type PartKind, type PromptPart, type WholePart } from './mesh/prompt-window.js'
export { isQuoted, type Citation, type PersonalCheck, type Rederivation, type SourceCheck, type VerificationStrategy, type Verifier } from './mesh/verification.js'
export { defineRun, type Ceiling, type RunBudget, type RunDefinition, type RunOptions, type RunResult } from './mesh/define-run.js'
export { RunHandle, type AnswerOptions, type CompactionRecord, type DecisionOptions, type FindingRecord, type PendingApproval, type ResolutionOptions, type RunState, type RunStatus } from './mesh/run-handle.js'
export { showTokens, type TokensOptions, type TokenTold } from './mesh/tokens.js'
export { tokenStreamMachine, type TokenEntry, type TokenSource } from './machines/token-stream.machine.js'
export { modelOf, type Completion, type ModelRef } from './mesh/model-call.js'
export { ModelError, type CompleteOptions, type ModelClient, type ModelFailureKind, type ModelMessage, type ModelRequest, type ModelResponse, type ModelTool, type ModelToolCall, type ModelToolResult, type ModelUsage } from './mesh/ports/model-client.js'
export type { ToolCost, ToolOptions, Tools } from './mesh/tools.js'
export { pinsOf, Toolbox, ToolError, type ToolboxOptions, type ToolCaps, type ToolPins, type ToolReport } from './mesh/toolbox.js'
export type { ToolDescription, ToolResult, ToolSource } from './mesh/ports/tool-source.js'
export { defaultPrices, free, type ModelPrice, type Price, type PriceTable } from './mesh/prices.js'
export type { TracedTool, TraceRecord } from './mesh/trace.js'
export type { TraceEntry, TraceStore } from './mesh/ports/trace-store.js'
export { agentMachine, type Act, type AgentFailure, type AgentInput, type AgentOutput, type AgentTask, type Goal } from './machines/agent.machine.js'
export type { VerificationInput, Verdict } from './machines/verdict.js'
export { toolLoopMachine, type ToolLoopInput, type ToolOutcome, type ToolRefusal, type ToolRunInput } from './machines/tool-loop.machine.js'
export { callMachine, type AttemptOutcome, type CallInput, type CallOutput } from './machines/call.machine.js'
export { runMachine, type Member, type RunInput, type RunOutput, type RunRole, type Step } from './machines/run.machine.js'
export {
  supervisorMachine,
  defaultSupervisorOptions,
  type ChildSpec,
  type RestartStrategy,
  type RestartType,
  type Shutdown,
  type SupervisorContext,
  type SupervisorEvent,
  type SupervisorInput,
  type SupervisorOptions,
  type SupervisorOutput,
  type SupervisorReport,
  type Ward,
} from './machines/supervisor.machine.js'
export type { ApprovalRequest, Decision, PlannedAction, Resolution, Retry } from './machines/approval.js'
export { passes, type Confidence, type ConfidenceSource } from './machines/gate.js'
export { closeGrant, grant, isBalanced, nothing, openLedger, reserve, settle, type Amounts, type BudgetWarning, type Ledger } from './machines/ledger.js'
export { defaultBackoff, type Backoff } from './machines/backoff.js'
export {
  ActorEndedError,
  ActorExistsError,
  ActorFailedError,
  ActorNotStartedError,
  CancelledError,
  ConfigError,
  DeadlineError,
  HoldfastError,
  InvalidEventError,
  InvalidIdError,
  LimitError,
  MailboxFullError,
  MoveError,
  NonJsonError,
  SnapshotError,
  StoppedError,
  StoreError,
  TurnError,
  UnknownMachineError,
  isHoldfastError,
  type StoredError,
} from './errors.js'
export type { Address } from './runtime/identity.js'
export type { Clock } from './runtime/ports/clock.js'
export type { IdSource } from './runtime/ports/ids.js'
export type { Logger } from './runtime/ports/logger.js'
export type { Durability, MovableStore, Standing, Store } from './runtime/ports/store.js'
export type { Testimony, Witness } from './runtime/ports/witness.js'
