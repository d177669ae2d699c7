/** Tests of machines as charts, with @xstate/graph: whether all of them can be reached, and how. */
export { walkChart, ChartWalkError, type ChartPath, type ChartWalk, type ChartWalkOptions, type Coverage, type Outcome } from './walk.js'
