/** JSON on the wire: printable ASCII, and what comes out is what went in. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { asciiJson, bareJid, domainOf, kithElement, readKith, resourceOf, xml } from '../../../src/xmpp/xml.ts';

test('any JSON value travels as printable ASCII and comes back equal', () => {
  fc.assert(
    fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
      const text = asciiJson(value);
      expect(text).toMatch(/^[\x20-\x7e]*$/);
      expect(JSON.stringify(JSON.parse(text))).toBe(JSON.stringify(value));
    }),
  );
});

test('our element is read back; too large, not JSON, and absent are told apart', () => {
  const stanza = xml('message', {}, kithElement({ a: 'é' }));
  expect(readKith(stanza, 'it', 100)).toEqual({ a: 'é' });
  expect(readKith(xml('message', {}), 'it', 100)).toBeUndefined();
  expect(() => readKith(stanza, 'it', 5)).toThrow(/more than the 5 allowed/);
  expect(() => readKith(xml('message', {}, xml('kith', { xmlns: 'urn:kith:0' }, '{')), 'it', 5)).toThrow(/not JSON/);
});

test('addresses come apart', () => {
  expect(['a@b/c/d', 'b', 'b/c', 'a@b'].map((jid) => [bareJid(jid), resourceOf(jid), domainOf(jid)])).toEqual([
    ['a@b', 'c/d', 'b'],
    ['b', '', 'b'],
    ['b', 'c', 'b'],
    ['a@b', '', 'b'],
  ]);
});
