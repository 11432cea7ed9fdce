/** What a guest is told at boot: its role, its place on the LAN and the keys, as one fw_cfg file that no process list shows. */
import { MAC_PATTERN, NAME_PATTERN } from '../base/ids.ts';
import { parser } from '../base/validate.ts';
import { MAX_GUESTS } from '../protocol/limits.ts';
import type { Role } from '../protocol/plan.ts';

/** A place on the LAN. The slots of a plan fit as they are: other fields are ignored. */
export interface GuestSlot {
  readonly name: string;
  readonly mac: string;
  readonly address: string;
}

export interface GuestConfig {
  readonly role: Role;
  readonly hostname: string;
  readonly mac: string;
  readonly address: string;
  /** `10.77.0.0/24`. */
  readonly subnet: string;
  readonly mtu: number;
  /** Every place of the LAN, taken or free, for the leases and names that the master guest gives. Workers are not told. */
  readonly slots: readonly GuestSlot[];
  /** `ssh-ed25519 AAAA…`: every guest lets the holder of this key in as root. */
  readonly masterKey: string;
  /** OpenSSH private key; the master guest's only. */
  readonly masterPrivateKey?: string | undefined;
}

/** QEMU asks for names below `opt/` with a domain of one's own (docs/specs/fw_cfg.rst, "Externally Provided Items"). */
export const CONFIG_NAME = 'opt/org.kith/config';

const name = { type: 'string', pattern: NAME_PATTERN };
const mac = { type: 'string', pattern: MAC_PATTERN };
const address = { type: 'string', pattern: '^(\\d{1,3}\\.){3}\\d{1,3}$' };

const check = parser<GuestConfig>('guest configuration', 'guest.config', {
  type: 'object',
  required: ['role', 'hostname', 'mac', 'address', 'subnet', 'mtu', 'slots', 'masterKey'],
  properties: {
    role: { type: 'string', enum: ['master', 'worker'] },
    hostname: name,
    mac,
    address,
    subnet: { type: 'string', pattern: '^(\\d{1,3}\\.){3}0/24$' },
    mtu: { type: 'integer', minimum: 68, maximum: 65_535 },
    slots: {
      type: 'array',
      maxItems: MAX_GUESTS,
      items: { type: 'object', required: ['name', 'mac', 'address'], properties: { name, mac, address } },
    },
    // One line each: a line break would let a value add lines of its own.
    masterKey: { type: 'string', pattern: '^ssh-ed25519 [A-Za-z0-9+/=]{40,120}( [ -~]{0,64})?$' },
    masterPrivateKey: { type: 'string', maxLength: 4096 },
  },
});

/** `key value` lines, which a shell reads without help. Throws `guest.config` if a value could be more than a value. */
export function encodeGuestConfig(config: GuestConfig): string {
  check(config);
  const lines = [
    `role ${config.role}`,
    `hostname ${config.hostname}`,
    `mac ${config.mac}`,
    `address ${config.address}`,
    `subnet ${config.subnet}`,
    `mtu ${config.mtu}`,
    `master-key ${config.masterKey}`,
  ];
  if (config.role === 'master') {
    lines.push(...config.slots.map((slot) => `slot ${slot.name} ${slot.mac} ${slot.address}`));
    if (config.masterPrivateKey) lines.push(`private-key ${Buffer.from(config.masterPrivateKey).toString('base64')}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}
