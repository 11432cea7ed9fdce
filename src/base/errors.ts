/** The one error type that users see: what failed, why, and what to do next. */

/** `never`: the same call fails again. `later`: worth a retry. `after-change`: a human has to change something first. */
export type Retry = 'never' | 'later' | 'after-change';

export interface KithErrorFacts {
  /** `room.cause`, for example `guest.qemu-missing`; scripts match on it, so it never changes its meaning. */
  readonly code: string;
  /** What failed and why, one line without a final full stop. */
  readonly message: string;
  /** The next step, as an imperative: `install it with apt install qemu-system-x86`. */
  readonly hint?: string | undefined;
  readonly retry?: Retry;
  readonly cause?: unknown;
}

export class KithError extends Error {
  override readonly name = 'KithError';
  readonly code: string;
  readonly hint: string | undefined;
  readonly retry: Retry;

  constructor(facts: KithErrorFacts) {
    super(facts.message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = facts.code;
    this.hint = facts.hint;
    this.retry = facts.retry ?? 'after-change';
  }
}

/** One line for a person: what, why, what next. Never a stack. */
export function describeError(error: unknown): string {
  if (error instanceof KithError) return error.hint ? `${error.message}; ${error.hint}` : error.message;
  if (error instanceof AggregateError) return error.errors.map(describeError).join('; ');
  if (error instanceof Error) return error.message || error.name;
  return String(error);
}

/** The stable code of an error, `internal` for anything that nobody foresaw. */
export function errorCode(error: unknown): string {
  if (error instanceof KithError) return error.code;
  return isAbort(error) ? 'aborted' : 'internal';
}

/** True for the errors that only say "somebody asked to stop". A deadline that passed is not one: nobody asked. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}
