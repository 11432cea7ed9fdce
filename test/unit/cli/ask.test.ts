/** The owner at the terminal: what is asked, what counts as yes, and what ends a question without an answer. */
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { askHuman } from '../../../src/cli/ask.ts';
import type { Waiting } from '../../../src/job/consent.ts';
import { question } from '../../harness/consent.ts';

const from = (account: string, id = 'a1'): Waiting => ({
  id,
  question: question({ from: `${account}/kith-1`, who: { account, trust: 'invited' } }),
  verdict: {
    answer: 'ask',
    rule: { place: '', words: 'the owner wants to be asked about everybody', kind: 'who' },
    reasons: [],
  },
  since: 0,
});

function openTerminal(options: { readonly isTTY?: boolean } = {}) {
  const terminal = Object.assign(new PassThrough(), { isTTY: options.isTTY ?? true });
  const output = new PassThrough({ encoding: 'utf8' });
  const down = new AbortController();
  const prompt = askHuman({ terminal, output, signal: down.signal });
  const ask = (request: Waiting, signal = new AbortController().signal) => prompt(request, signal);
  const shown = { text: '' };
  output.on('data', (chunk: string) => (shown.text += chunk));
  const saw = async (text: string) => {
    await expect.poll(() => shown.text, { timeout: 20_000, interval: 5 }).toContain(text);
  };
  return { ask, terminal, down, shown, saw };
}

test.each([
  ['y', true],
  [' YES ', true],
  ['', false],
  ['n', false],
  ['yesterday', false],
])('%j is %s', async (answer, yes) => {
  const { ask, terminal, saw } = openTerminal();
  const asked = ask(from('anna@x'));
  await saw('[y/N]');
  terminal.write(`${answer}\n`);
  expect(await asked).toBe(yes);
});

test('the question says who, verified or not, what image, how much, how long, and Internet or not; and steers nothing', async () => {
  const { ask, terminal, shown, saw } = openTerminal();
  const asked = ask(from('an\u001b[2Jna\u202e@x'));
  await saw('[y/N]');
  terminal.write('y\n');
  expect(await asked).toBe(true);
  expect(shown.text).toBe(
    `request a1: a worker guest for job mesh
  who       anna?@x (not verified: came by invitation)
  image     micro (0123456789ab, seen here before)
  resources 112 MiB, 1 cpu
  how long  open end
  Internet  no
  because   the owner wants to be asked about everybody
Allow? (or elsewhere: kith allow a1) [y/N] `,
  );
});

test('one question at a time', async () => {
  const { ask, terminal, shown, saw } = openTerminal();
  const first = ask(from('anna@x'));
  await saw('[y/N]');
  const second = ask(from('ben@x', 'b1'));
  expect(shown.text).not.toContain('ben');
  terminal.write('y\n');
  expect(await first).toBe(true);
  await saw('kith allow b1) [y/N]');
  terminal.write('n\n');
  expect(await second).toBe(false);
});

test('an answer from elsewhere ends the question, says so, and lets the next one in', async () => {
  const { ask, terminal, saw } = openTerminal();
  const settled = new AbortController();
  const first = ask(from('anna@x'), settled.signal);
  await saw('[y/N]');
  const second = ask(from('ben@x', 'b1'));
  settled.abort('allowed: kith allow');
  await saw('allowed: kith allow');
  expect(await first).toBeUndefined();
  await saw('kith allow b1) [y/N]');
  terminal.write('y\n');
  expect(await second).toBe(true);
});

test('a question that was settled while it waited for its turn is never shown', async () => {
  const { ask, terminal, shown, saw } = openTerminal();
  const settled = new AbortController();
  const first = ask(from('anna@x'));
  await saw('[y/N]');
  const second = ask(from('ben@x', 'b1'), settled.signal);
  settled.abort('refused: nobody answered');
  terminal.write('y\n');
  expect(await first).toBe(true);
  expect(await second).toBeUndefined();
  expect(shown.text).toMatch(/kith allow a1\) \[y\/N\] $/);
});

test('kith down ends the prompt, and whoever waits for his turn, without an answer', async () => {
  const { ask, down, saw } = openTerminal();
  const both = Promise.all([ask(from('anna@x')), ask(from('ben@x', 'b1'))]);
  await saw('[y/N]');
  down.abort();
  expect(await both).toEqual([undefined, undefined]);
});

test('a terminal that is closed says no; where there is none the request waits for kith allow', async () => {
  const closing = openTerminal();
  const asked = closing.ask(from('anna@x'));
  await closing.saw('[y/N]');
  closing.terminal.end();
  expect(await asked).toBe(false);
  expect(await openTerminal({ isTTY: false }).ask(from('anna@x'))).toBeUndefined();
});
