/** The outside interface: a live carrier of batches between two peers. */

export type Rung = 'direct' | 'webrtc' | 'stanza' | 'memory';

/** A *batch* is one 16-byte header (batch.ts) and a run. It arrives whole or not at all; a wire may lose, never alter, batches. */
export type Batch = Uint8Array;

export interface WireStats {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Batches that this end refused or threw away because its queue was full. */
  readonly drops: number;
  /** Taken by send() and not yet with the kernel or the server: what a change of wires has to wait for. */
  readonly queuedBytes: number;
}

export interface Wire extends AsyncDisposable {
  readonly rung: Rung;
  /** Largest batch in bytes, header included. */
  readonly maxBatch: number;
  /** False: refused (queue full, too large, closed), counted in `drops`. Never throws, never waits. The wire copies what it keeps. */
  send(batch: Batch): boolean;
  stats(): WireStats;
  /** Resolves with the reason when the wire is dead, also after disposal. Never rejects. */
  readonly closed: Promise<string>;
}

/** Called for each batch that arrives. The slice is the callee's until it returns. Must not throw. */
export type BatchHandler = (batch: Batch) => void;
