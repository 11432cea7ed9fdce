/** The ledger of invitations: nobody comes in twice as many times, late, by a withdrawn line, or into another room. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { openGate, parseGrants, tokenId, type Gate } from '../../../src/trust/gate.ts';

const ROOM = 'friends@rooms.kith.internal';
const HOUR = 3_600_000;

/** Public keys by number; the ledger never looks into them. */
const key = (number: number) => Buffer.alloc(32, number).toString('base64url');

const outcome = (gate: Gate, device: number, now: number, more: { token?: string; room?: string } = {}) => {
  try {
    gate.admit({ token: 'token-one', room: ROOM, ...more, device: key(device) }, now);
    return 'in';
  } catch (error) {
    return errorCode(error);
  }
};

const gateFor = (uses: number, expires = HOUR) => {
  const gate = openGate();
  gate.issue({ token: 'token-one', room: ROOM, uses, expires }, 0);
  return gate;
};

test('each refusal has its own code', () => {
  const gate = gateFor(1);
  expect(outcome(gate, 1, 0, { token: 'token-two' })).toBe('invitation.unknown');
  expect(outcome(gate, 1, 0, { room: 'others@rooms.kith.internal' })).toBe('invitation.wrong-room');
  expect(outcome(gate, 1, HOUR)).toBe('invitation.expired');
  expect(outcome(gate, 1, HOUR - 1)).toBe('in');
  expect(outcome(gate, 2, 0)).toBe('invitation.used-up');
  gate.revoke('token-one');
  expect(outcome(gate, 2, 0)).toBe('invitation.revoked');
});

test('a member passes again and costs nothing, whatever became of the token', () => {
  const gate = gateFor(2);
  expect([outcome(gate, 1, 0), outcome(gate, 1, 0), outcome(gate, 2, 0)]).toEqual(['in', 'in', 'in']);
  gate.revoke(tokenId('token-one'));
  expect([outcome(gate, 1, 2 * HOUR), outcome(gate, 3, 0)]).toEqual(['in', 'invitation.revoked']);
  expect(outcome(gate, 1, 0, { room: 'others@rooms.kith.internal' })).toBe('invitation.wrong-room');
});

test('whatever is tried in whatever order, no more devices come in than the token is for, and none late', () => {
  const attempt = fc.record({
    device: fc.integer({ min: 0, max: 5 }),
    now: fc.integer({ min: 0, max: 2 * HOUR }),
    act: fc.constantFrom('admit', 'admit', 'admit', 'revoke', 'reload'),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.array(attempt, { maxLength: 40 }), (uses, attempts) => {
      let gate = gateFor(uses);
      let revoked = false;
      const inside = new Set<number>();
      const [happened, expected]: boolean[][] = [[], []];
      for (const { device, now, act } of attempts) {
        if (act === 'revoke') {
          gate.revoke('token-one');
          revoked = true;
        } else if (act === 'reload') {
          gate = openGate(parseGrants(JSON.parse(JSON.stringify(gate.grants))));
        } else {
          const may = inside.has(device) || (!revoked && now < HOUR && inside.size < uses);
          expected?.push(may);
          happened?.push(outcome(gate, device, now) === 'in');
          if (may) inside.add(device);
        }
      }
      expect(happened).toEqual(expected);
      expect(gate.grants[0]?.devices).toEqual([...inside].map(key));
      expect(inside.size).toBeLessThanOrEqual(uses);
    }),
  );
});

test('a token is given out once, and its id does not give it away', () => {
  const gate = gateFor(1);
  expect(() => gate.issue({ token: 'token-one', room: ROOM, uses: 9, expires: HOUR }, 0)).toThrow('before');
  expect(tokenId('token-one')).toMatch(/^[0-9a-f]{8}$/);
  expect(gate.revoke('token-two')).toBeUndefined();
});

test('a full ledger makes room only by forgetting what is spent unused', () => {
  const gate = openGate();
  for (let n = 0; n < 2000; n++)
    gate.issue({ token: `token-${n}`, room: ROOM, uses: 1, expires: n === 7 ? HOUR : 9 * HOUR }, 0);
  const one = (token: string, now: number) => gate.issue({ token, room: ROOM, uses: 1, expires: 9 * HOUR }, now);
  expect(() => one('token-more', 0)).toThrow('2000 invitations');
  one('token-more', HOUR);
  expect(outcome(gate, 1, HOUR, { token: 'token-7' })).toBe('invitation.unknown');
  expect(outcome(gate, 1, HOUR, { token: 'token-8' })).toBe('in');
});
