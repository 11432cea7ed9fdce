/** What the bench compares: anything that makes one Ethernet (or IP) device on each side and carries what is sent into it. */
import type { Sample } from './figures.ts';
import type { Turn } from './measure.ts';
import type { Running, Side, Site } from './site.ts';

export interface Place {
  readonly site: Site;
  readonly mtu: number;
  /** Of its own, made already. */
  readonly folder: string;
  /** How its device is to be called on both sides, shorter than IFNAMSIZ. */
  readonly device: string;
  /** Its own ports begin here. */
  readonly port: number;
  /** The address that its device is to have; set by the bench unless the overlay does it itself. */
  readonly address: Readonly<Record<Side, string>>;
}

export interface Opened {
  /** All that is started; its time is what the overlay costs. */
  readonly running: readonly Running[];
  /** Where side b is reached, if not at `address`. */
  readonly target?: string;
  /** Where iperf3 does not run in the namespaces. */
  readonly turn?: (turn: Turn) => Promise<Sample>;
  /** What the device of each side has to be called by, where that matters. */
  readonly macs?: Readonly<Record<Side, string>>;
}

export interface Overlay {
  readonly name: string;
  readonly mtu: number;
  readonly kind: 'kith' | 'peer' | 'limit';
  open(place: Place): Promise<Opened>;
}
