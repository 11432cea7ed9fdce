/** For the tests: what lock.mjs exports. */
export function takeLock(path: string, options?: { onWait?: (holder: number) => void }): Promise<() => void>;
