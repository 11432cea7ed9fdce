/** Every cap and deadline that two peers must agree on, with its reason. */

/** JSON text of one message. Both Debian servers refuse stanzas above 262,144 bytes; 64 KiB keeps the XML parser fast (facts/xmpp.md 12). */
export const MAX_MESSAGE_BYTES = 65_536;

/** Raw bytes of frames in one stanza: base64 makes 16 KB of it, above which ltx parses quadratically (facts/xmpp.md 12). */
export const MAX_STANZA_FRAMES_BYTES = 12_000;

/** One page of command output or log in a reply: half a message after base64 and JSON. */
export const MAX_PAGE_BYTES = 24_576;

/** Bytes of a frame in a capture: Ethernet and IP headers at least; at most what one page holds with the block around it. */
export const MIN_SNAP_BYTES = 64;
export const MAX_SNAP_BYTES = 24_000;

/** Guests of one LAN. The routing core is meant for 200 peers (design: link state); node numbers are u16. */
export const MAX_GUESTS = 200;

/** A peer says that it lives every 10 s in the room, and is dead after three missed beats (design; facts/xmpp.md 2.4). */
export const HEARTBEAT_MS = 10_000;
export const DEAD_AFTER_MS = 30_000;

/** A lease is renewed at a third of its length; a lost initiator frees its workers after at most this long. */
export const LEASE_SECONDS = 90;

/** Answers that need no work at the other side. Longer than one trip at a server's default rate limit with a full queue. */
export const REQUEST_TIMEOUT_MS = 20_000;
