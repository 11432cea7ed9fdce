/** The public SDK: all that a job script imports (`import { defineJob } from 'kith'`). */
export { defineJob } from './define.ts';
export { sweep } from './sweep.ts';
export type { ExecResult, Guest, GuestOptions, JobDefinition, Lan, PingResult, RunContext } from './define.ts';
