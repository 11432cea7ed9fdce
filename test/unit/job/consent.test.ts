/** Requests that wait for a human: who may answer, who else hears of it, what is kept, and what makes room again. */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { createDesk, type Desk, type Prompt } from '../../../src/job/consent.ts';
import type { LeaseQuestion, Verdict } from '../../../src/job/policy.ts';
import { question } from '../../harness/consent.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const VERDICT: Verdict = {
  answer: 'ask',
  rule: { place: 'p', words: 'the owner wants to be asked', kind: 'who' },
  reasons: [],
};
const NOW = new Date(2026, 10, 21, 12, 0);

/** A desk whose terminal shows everything and answers when the test says so. */
function openDesk(prompt: 'terminal' | 'none' = 'terminal') {
  const clock = virtualClock();
  const shown = new Map<
    string,
    { readonly answer: (yes: boolean | undefined) => void; readonly signal: AbortSignal }
  >();
  const onTerminal: Prompt = (request, signal) =>
    new Promise((resolve) => shown.set(request.id, { answer: resolve, signal }));
  const desk = createDesk({ clock, wallClock: () => NOW, prompt: prompt === 'terminal' ? onTerminal : undefined });
  /** As the worker does: asks, then records what came of it. */
  const ask = (id: string, changes: Partial<LeaseQuestion> = {}, fits = true) => {
    const asked = question(changes);
    return desk.ask(id, asked, VERDICT).then(({ yes, by }) => {
      desk.record({ id, question: asked, verdict: VERDICT, answer: yes && fits ? 'yes' : 'no', by });
      return { yes, by };
    });
  };
  return { desk, clock, shown, ask };
}

const from = (name: string): Partial<LeaseQuestion> => ({
  from: `${name}@x/1`,
  who: { account: `${name}@x`, trust: 'invited' },
});
const idsOf = (requests: readonly { readonly id: string }[]) => requests.map(({ id }) => id);

describe('a request that waits', () => {
  test('is shown with who, what and why, until it is answered', async () => {
    const { desk, ask } = openDesk('none');
    const asked = ask('a1');
    expect(desk.waiting).toEqual([{ id: 'a1', question: question(), verdict: VERDICT, since: NOW.getTime() }]);
    expect(desk.find('a1')).toMatchObject({ id: 'a1' });
    const decided = await desk.answer('a1', true, 'kith allow');
    expect(await asked).toEqual({ yes: true, by: 'kith allow' });
    expect(decided).toMatchObject({ id: 'a1', answer: 'yes', by: 'kith allow', times: 1 });
    expect([desk.waiting, idsOf(desk.decided)]).toEqual([[], ['a1']]);
  });

  test('that kith allow answers leaves the terminal, which is told', async () => {
    const { desk, ask, shown } = openDesk();
    const asked = ask('a1');
    await desk.answer('a1', false, 'kith refuse');
    expect(await asked).toEqual({ yes: false, by: 'kith refuse' });
    expect(shown.get('a1')?.signal.reason).toBe('refused: kith refuse');
    shown.get('a1')?.answer(true); // too late
    await turn();
    await expect(desk.answer('a1', true, 'kith allow')).rejects.toThrow(/has its answer already: no \(kith refuse\)/);
  });

  test('that the terminal answers is told to whoever comes later with kith allow', async () => {
    const { desk, ask, shown } = openDesk();
    const asked = ask('a1');
    shown.get('a1')?.answer(true);
    expect(await asked).toEqual({ yes: true, by: 'the terminal' });
    await expect(desk.answer('a1', false, 'kith refuse')).rejects.toThrow(
      /has its answer already: yes \(the terminal\)/,
    );
  });

  test('goes on to wait when the terminal has nothing to say, or fails', async () => {
    for (const prompt of [async () => undefined, () => Promise.reject(new Error('no terminal'))]) {
      const desk = createDesk({ clock: virtualClock(), wallClock: () => NOW, prompt });
      const asked = desk.ask('a1', question(), VERDICT);
      await Promise.resolve();
      void desk.answer('a1', true, 'kith allow');
      expect(await asked).toEqual({ yes: true, by: 'kith allow' });
    }
  });

  test('is a no when nobody answers for 110 s', async () => {
    const { desk, ask, clock } = openDesk();
    const asked = ask('a1');
    clock.advance(109_999);
    expect(idsOf(desk.waiting)).toEqual(['a1']);
    clock.advance(1);
    expect(await asked).toEqual({ yes: false, by: 'nobody answered' });
    expect(desk.waiting).toEqual([]);
  });

  test('goes with its requester, and with this peer', async () => {
    const { desk, ask, shown } = openDesk();
    const [anna, ben] = [ask('a1', from('anna')), ask('b1', from('ben'))];
    desk.withdraw((jid) => jid === 'anna@x/1');
    expect(await anna).toEqual({ yes: false, by: 'the requester left' });
    expect(shown.get('a1')?.signal.aborted).toBe(true);
    expect(idsOf(desk.waiting)).toEqual(['b1']);
    desk.close();
    expect(await ben).toEqual({ yes: false, by: 'this peer stops' });
  });

  test('may be allowed and still not fit: whoever allowed it hears that', async () => {
    const { desk, ask } = openDesk('none');
    void ask('a1', {}, false);
    expect(await desk.answer('a1', true, 'kith allow')).toMatchObject({ answer: 'no' });
  });
});

describe('nobody can fill the desk', () => {
  const again = (desk: Desk, id: string, name: string) => desk.ask(id, question(from(name)), VERDICT);

  test('one request of each account, 32 in all', async () => {
    const { desk, ask } = openDesk('none');
    const first = ask('r0', from('friend-0'));
    await expect(again(desk, 'again', 'friend-0')).rejects.toThrow(/another request of yours waits/);
    for (let index = 1; index < 32; index++) void ask(`r${index}`, from(`friend-${index}`));
    await expect(again(desk, 'late', 'friend-32')).rejects.toThrow(/32 requests wait/);
    await desk.answer('r0', false, 'kith refuse');
    await first;
    void ask('late', from('friend-32'));
    expect(desk.waiting).toHaveLength(32);
  });

  test('the last 100 decisions are kept, and a flood of one request is one of them', () => {
    const { desk } = openDesk('none');
    const decide = (id: string, name: string) =>
      desk.record({ id, question: question(from(name)), verdict: VERDICT, answer: 'no', by: 'policy' });
    decide('first', 'anna');
    for (let index = 0; index < 1000; index++) decide(`flood-${index}`, 'mallory');
    expect(desk.decided.map(({ id, times }) => [id, times])).toEqual([
      ['flood-999', 1000],
      ['first', 1],
    ]);
    for (let index = 0; index < 150; index++) decide(`r${index}`, `friend-${index}`);
    expect(desk.decided).toHaveLength(100);
    expect(desk.decided[0]?.id).toBe('r149');
    expect(desk.find('r50')).toBeDefined();
    expect(desk.find('r49')).toBeUndefined();
  });

  test('an id that nobody has is told so', async () => {
    const { desk } = openDesk('none');
    await expect(desk.answer('a1', true, 'kith allow')).rejects.toThrow(/no request a1 waits here/);
  });
});
