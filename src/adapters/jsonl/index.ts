/** `holdfast/jsonl`: the trace of the calls in a folder, one file of JSON lines a run. */
export { JsonlTraceStore, jsonlTraces, type JsonlTraceOptions } from './jsonl-trace-store.js'
