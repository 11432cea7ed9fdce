/** XEP-0198 bookkeeping against a model: nothing lost, nothing confirmed twice, nonsense told. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Ledger } from '../../../src/xmpp/ledger.ts';

test('whatever is sent and confirmed, the rest is pending in order with its bytes', () => {
  const actions = fc.array(fc.oneof(fc.record({ send: fc.nat(5000) }), fc.record({ confirm: fc.nat(40) })), {
    maxLength: 100,
  });
  fc.assert(
    fc.property(actions, (script) => {
      const ledger = new Ledger<number>();
      const model: { item: number; bytes: number }[] = [];
      let sent = 0;
      let confirmed = 0;
      for (const action of script) {
        const count = 'confirm' in action ? action.confirm : 0;
        const possible = 'confirm' in action && count >= confirmed && count <= sent;
        const agreed = 'confirm' in action && ledger.confirm(String(count));
        expect(agreed).toBe(possible);
        if ('send' in action) {
          ledger.sent(sent, action.send);
          model.push({ item: sent++, bytes: action.send });
        } else if (possible) {
          model.splice(0, count - confirmed);
          confirmed = count;
        }
        expect(ledger.pending()).toEqual(model.map((entry) => entry.item));
        expect(ledger.unconfirmed).toBe(model.length);
        expect(ledger.unconfirmedBytes).toBe(model.reduce((sum, entry) => sum + entry.bytes, 0));
      }
      expect(ledger.reset()).toEqual(model.map((entry) => entry.item));
      expect(ledger).toMatchObject({ unconfirmed: 0, unconfirmedBytes: 0, inbound: 0 });
    }),
  );
});

test.each([undefined, '', '-1', '1.5', '0x1', '4294967296', '99999999999', 'NaN'])(
  'a receipt for %j is nonsense',
  (h) => {
    const ledger = new Ledger<string>();
    ledger.sent('a', 1);
    expect(ledger.confirm(h)).toBe(false);
    expect(ledger.pending()).toEqual(['a']);
  },
);

test('the counter of a stream starts at zero again', () => {
  const ledger = new Ledger<string>();
  ledger.sent('a', 1);
  ledger.confirm('1');
  ledger.received();
  ledger.reset();
  ledger.sent('b', 1);
  expect(ledger.confirm('1')).toBe(true);
  expect(ledger.inbound).toBe(0);
});
