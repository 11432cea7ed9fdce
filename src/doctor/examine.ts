/** Runs a table of checks: side by side where they do not need each other, each with a deadline, none able to stop the rest. */
import { orAborted } from '../base/abort.ts';
import { describeError, KithError } from '../base/errors.ts';
import { skipped, type Check, type CheckContext, type Finding } from './check.ts';

export interface CheckReport {
  readonly name: string;
  readonly state: Finding['state'];
  readonly found: string;
  readonly cost?: string;
  readonly todo?: string;
}

export interface Examination {
  /** Nothing is broken. */
  readonly ok: boolean;
  /** In the order of the table. */
  readonly checks: readonly CheckReport[];
}

export async function examine(
  checks: readonly Check[],
  context: CheckContext,
  options: { readonly signal: AbortSignal; readonly onReport: (report: CheckReport) => void },
): Promise<Examination> {
  const { signal, onReport } = options;
  const findings = new Map<string, Promise<readonly Finding[]>>();
  /** By a check that was not made, the one at the root of it. */
  const roots = new Map<string, string>();
  for (const check of checks) findings.set(check.name, one(check));

  async function one(check: Check): Promise<readonly Finding[]> {
    const found = (await obstacle(check)) ?? (await runCheck(check, context, signal));
    signal.throwIfAborted();
    for (const finding of found) onReport(reportOf(check, finding));
    return found;
  }

  async function obstacle(check: Check): Promise<readonly Finding[] | undefined> {
    for (const name of check.after ?? []) {
      const state = (await findings.get(name))?.find(({ state }) => state === 'broken' || state === 'skipped')?.state;
      if (!state) continue;
      const root = roots.get(name) ?? name;
      roots.set(check.name, root);
      return [skipped(`not looked at: see ${root}`, check.cost, `see to ${root} first`)];
    }
    return undefined;
  }

  const all = await Promise.all(
    checks.map(async (check) => (await findings.get(check.name))?.map((finding) => reportOf(check, finding)) ?? []),
  );
  const reports = all.flat();
  return { ok: reports.every(({ state }) => state !== 'broken'), checks: reports };
}

async function runCheck(check: Check, context: CheckContext, signal: AbortSignal): Promise<readonly Finding[]> {
  const deadline = new AbortController();
  const cancel = context.clock.after(check.deadlineMs, () => deadline.abort(tooLate(check)));
  const either = AbortSignal.any([signal, deadline.signal]);
  try {
    // Raced, too: a check that does not listen to its signal must not hold up the others.
    const result = await orAborted(check.run(context, either), either);
    return [result].flat();
  } catch (error) {
    const { message, hint } = error instanceof KithError ? error : { message: describeError(error), hint: undefined };
    const todo = hint ?? 'try again, and with --log-level debug if it stays so';
    return [{ state: 'broken', found: message, cost: check.cost, todo }];
  } finally {
    cancel();
  }
}

const tooLate = ({ name, deadlineMs }: Check) =>
  new KithError({
    code: 'doctor.deadline',
    message: `no answer within ${deadlineMs / 1000} s`,
    hint: `see whether the machine or the network is overloaded, then look at ${name} again`,
    retry: 'later',
  });

function reportOf(check: Check, { part, ...finding }: Finding): CheckReport {
  return { name: part === undefined ? check.name : `${check.name}: ${part}`, ...finding };
}
