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

/** What a port calls for each run that its guest sent. Returns nothing and never throws: a guest may send any bytes. */
export type RunHandler = (run: Run) => void;
