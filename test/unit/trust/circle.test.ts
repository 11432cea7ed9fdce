/** Two circles that met: what one seals the other opens, and nobody else. */
import { expect, test } from 'vitest';
import { introduce, openParty } from '../../harness/circle.ts';

test('friends who met on first sight seal and open, question and answer', async () => {
  await using anna = await openParty('anna');
  await using ben = await openParty('ben');
  await introduce(anna, ben);
  expect(anna.circle.member(ben.jid)).toMatchObject({ trust: 'first-sight', account: 'ben@host.test' });
  const asked = await anna.circle.seal(ben.jid, 'lease.request', 'may I?');
  expect(asked.signed).not.toContain('may I');
  const question = await ben.circle.open(anna.jid, asked.signed);
  expect(question).toEqual({ purpose: 'lease.request', text: 'may I?', id: asked.id });
  const answered = await ben.circle.seal(anna.jid, 'lease.request.reply', 'yes', question.id);
  expect(await anna.circle.open(ben.jid, answered.signed, asked.id)).toMatchObject({ text: 'yes' });
});

test('the same envelope twice is refused', async () => {
  await using anna = await openParty('anna');
  await using ben = await openParty('ben');
  await introduce(anna, ben);
  const { signed } = await anna.circle.seal(ben.jid, 'lease.end', 'x');
  await ben.circle.open(anna.jid, signed);
  await expect(ben.circle.open(anna.jid, signed)).rejects.toMatchObject({
    code: 'trust.refused',
    message: expect.stringContaining('it came before') as string,
  });
});
