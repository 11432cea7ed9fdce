/** Names and identifiers: how they look and where they come from. */
import { randomBytes, randomUUID } from 'node:crypto';

/** 128 random bits as a UUID: request ids, lease ids, job ids. */
export const newId = (): string => randomUUID();

/** A short random suffix for names that must only differ, not be secret: `kith-3f9a1c`. */
export const shortId = (): string => randomBytes(3).toString('hex');

/** RFC 1123 label: what guests, jobs and peer profiles may be called. */
export const NAME_PATTERN = '^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$';

/** Lower-case SHA-256 in hexadecimal. */
export const HASH_PATTERN = '^[0-9a-f]{64}$';

/** Lower-case unicast MAC address. */
export const MAC_PATTERN = '^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$';

export const isName = (text: string): boolean => new RegExp(NAME_PATTERN).test(text);
