/** The inside interface: where a guest's Ethernet meets the switch. */

/**
 * A *run* is one or more whole frames in QEMU's stream framing: 4-byte big-endian length, then the frame, repeated.
 * Runs are passed on as slices, unparsed and uncopied; whoever keeps one beyond the call must copy it.
 */
export type Run = Uint8Array;

export interface Port {
  /** Guest's name, for counters and captures. */
  readonly name: string;
  /** Hands frames to the guest. False: refused (guest is slow or gone), the port counts the drop. Never throws, never waits. */
  send(run: Run): boolean;
  /** Resolves with the reason when the port can carry nothing any more. Never rejects. */
  readonly closed: Promise<string>;
}

/**
 * What a port calls for each run that its guest sent. Returns nothing and never throws: a guest may send any bytes.
 *
 * `headroom`: so many bytes in front of the run, in the same memory, belong to the callee until it returns, and the run itself does
 * too. A port that reads into memory of its own can promise as many as a batch has in its header: what lies before a run was handed on
 * already. Then header and run leave as one slice and nothing is copied. Without it a run must not be written to.
 */
export type RunHandler = (run: Run, headroom?: number) => void;
