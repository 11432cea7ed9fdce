/** The public SDK: all that a job script imports (`import { defineJob } from 'kith'`). */
export { defineJob } from './define.ts';
export { sweep } from './sweep.ts';
export type {
  ExecResult,
  Guest,
  GuestOptions,
  JobDefinition,
  Lan,
  Link,
  LinkEnd,
  PingResult,
  RunContext,
  ShapeOrder,
} from './define.ts';
export type { ShapeWords } from '../net/shape.ts';
