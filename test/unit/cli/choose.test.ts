/** Which peer is meant when none is named. */
import { expect, test } from 'vitest';
import { pickPeer, type FoundPeer } from '../../../src/control/choose.ts';
import { guestStatus, peerStatus } from '../../harness/fake-peer.ts';

const worker = (name: string, ...guests: string[]): FoundPeer => ({
  name,
  status: peerStatus(name, 'worker', { guests: guests.map((guest) => guestStatus(guest)) }),
});
const initiator = (name: string): FoundPeer => ({ name, status: peerStatus(name, 'initiator') });

test('the only one, else the only initiator, else the only host of the guest', () => {
  expect(pickPeer([worker('a')])).toBe('a');
  expect(pickPeer([worker('a'), initiator('b')])).toBe('b');
  expect(pickPeer([worker('a', 'g'), initiator('b')], 'g')).toBe('b');
  expect(pickPeer([worker('a', 'g'), worker('b', 'h')], 'h')).toBe('b');
});

test('the host of a room is no peer, unless it is named', () => {
  const host: FoundPeer = { name: 'host', status: peerStatus('host', 'host') };
  expect(pickPeer([host, worker('a')])).toBe('a');
  expect(() => pickPeer([host])).toThrow(expect.objectContaining({ code: 'control.no-peer' }) as Error);
});

test('no peer, or too many, is an error that says what to do', () => {
  expect(() => pickPeer([])).toThrow(
    expect.objectContaining({ code: 'control.no-peer', hint: expect.stringContaining('kith run') as string }) as Error,
  );
  const many = expect.objectContaining({
    code: 'control.which-peer',
    message: '2 peers run on this machine: a, b',
    hint: 'say which one with --peer NAME',
  }) as Error;
  expect(() => pickPeer([worker('a', 'g'), worker('b', 'g')], 'g')).toThrow(many);
  expect(() => pickPeer([initiator('a'), initiator('b')])).toThrow(many);
});
