/** What every report of the doctor owes its reader. */
import type { CheckReport } from '../../src/doctor/doctor.ts';

/** Reports that are not fine and keep their cost or their cure to themselves: none. */
export const withoutAdvice = (reports: readonly CheckReport[]): readonly CheckReport[] =>
  reports.filter(({ state, cost = '', todo = '' }) => state !== 'fine' && !(/\w/.test(cost) && /\w/.test(todo)));
