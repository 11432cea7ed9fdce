/** XML namespaces and protocol versions. A peer ignores what it does not know and refuses what claims to be ours and is not valid. */

/** Everything of ours inside a stanza: one element in this namespace with ASCII JSON as its text. */
export const KITH_NS = 'urn:kith:0';

/** Version of the plan and the messages. Peers with another number do not work together and say so. */
export const PROTOCOL_VERSION = 1;
