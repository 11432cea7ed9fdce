/** What passes the door, and what is said to the rest. */
import { describe, expect, test } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import { parseJson, parser } from '../../../src/base/validate.ts';

const parse = parser<{ name: string; count?: number }>('a note', 'test.note', {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 8 }, count: { type: 'integer' } },
  required: ['name'],
  additionalProperties: false,
});

function refusal(action: () => unknown): KithError {
  try {
    action();
  } catch (error) {
    if (error instanceof KithError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('a parser', () => {
  test('gives back what is valid, itself', () => {
    const note = { name: 'a', count: 1 };
    expect(parse(note)).toBe(note);
  });

  test.each([
    [{ count: 1 }, "a note is not valid: it must have required property 'name'"],
    [{ name: 'far too long' }, 'a note is not valid: /name must NOT have more than 8 characters'],
    [{ name: 'a', count: '1' }, 'a note is not valid: /count must be integer'],
    [{ name: 'a', extra: 1 }, 'a note is not valid: it must NOT have additional properties (extra)'],
    [null, 'a note is not valid: it must be object'],
    [undefined, 'a note is not valid: it must be object'],
  ])('refuses %j: %s', (value, message) => {
    expect(refusal(() => parse(value))).toMatchObject({ code: 'test.note', retry: 'never', message });
  });

  test('refuses a key that would reach the prototype', () => {
    const hostile: unknown = JSON.parse('{"name":"a","__proto__":{"admin":true}}');
    expect(refusal(() => parse(hostile)).message).toContain('__proto__');
  });

  test('a refusal stays short, however long the name of the bad property', () => {
    expect(refusal(() => parse({ name: 'a', ['x'.repeat(100_000)]: 1 })).message.length).toBeLessThan(400);
  });
});

describe('JSON', () => {
  test('as long as allowed is read, one byte more is not', () => {
    expect(parseJson('a note', 'test.note', '"ab"', 4)).toBe('ab');
    expect(refusal(() => parseJson('a note', 'test.note', '"abc"', 4)).message).toBe(
      'a note is 5 bytes, more than the 4 allowed',
    );
  });

  test('counts bytes, not characters', () => {
    expect(refusal(() => parseJson('a note', 'test.note', '"éé"', 5)).message).toContain('6 bytes');
  });

  test('is refused with the given code when it is none', () => {
    expect(refusal(() => parseJson('a note', 'test.note', '{', 10))).toMatchObject({ code: 'test.note' });
  });
});
