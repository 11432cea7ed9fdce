/** For the tests and TypeScript: what npm.mjs exports. */
export interface LockEntry {
  version?: string;
  integrity?: string;
  optional?: boolean;
  devOptional?: boolean;
}
export interface LockFile {
  packages?: Record<string, LockEntry>;
}
export function pinnedNode(root: string): string;
export function packagesMatch(wanted: LockFile, installed: LockFile): boolean;
export function packagesAreThere(root: string): boolean;
export function installPackages(root: string, env: NodeJS.ProcessEnv, say: (line: string) => void): Promise<void>;
