/** Why set-up stopped: what, why, what next. The KithError of base/ is TypeScript and cannot be loaded yet. */

/** sysexits.h EX_UNAVAILABLE: a program that is needed cannot be had. */
const EX_UNAVAILABLE = 69;

export class SetupError extends Error {
  /** @param {{ message: string, hint: string, exitCode?: number }} facts */
  constructor({ message, hint, exitCode = EX_UNAVAILABLE }) {
    super(message);
    this.name = 'SetupError';
    this.hint = hint;
    this.exitCode = exitCode;
  }
}
