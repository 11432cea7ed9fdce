/** For the tests: what programs.mjs exports. */
export type Manager = 'apt' | 'dnf' | 'pacman' | 'brew';
export type Purpose = 'tests' | 'bench';
export interface Program {
  readonly name: string;
  readonly why: string;
  readonly packages: Partial<Record<Manager, string>>;
  readonly only?: Purpose;
}
export const PROGRAMS: readonly Program[];
export const MANAGERS: readonly { manager: Manager; program: string; systems: string; command: string }[];
export function findProgram(name: string, env: NodeJS.ProcessEnv): string | undefined;
export function findManager(has: (name: string) => boolean, platform: NodeJS.Platform): Manager | undefined;
export function missingPrograms(machine: {
  has: (name: string) => boolean;
  manager: Manager | undefined;
  purpose?: Purpose | undefined;
}): Program[];
export function packagesFor(programs: readonly Program[], manager: Manager): string[];
export function installCommands(programs: readonly Program[], here: Manager | undefined): string;
