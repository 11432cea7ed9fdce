/** The owner at the terminal: what is asked, what counts as yes, and when nobody is asked at all. */
import { on } from 'node:events';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { askHuman } from '../../../src/cli/ask.ts';
import type { LeaseQuestion } from '../../../src/job/policy.ts';

const from = (jid: string): LeaseQuestion => ({
  from: jid,
  request: {
    kind: 'lease.request',
    job: 'id',
    jobName: 'mesh',
    role: 'worker',
    memoryMiB: 112,
    cpus: 1,
    image: { name: 'micro', hash: '0123456789abcdef'.repeat(4), bytes: 1 },
    seconds: 60,
  },
});

function openTerminal(options: { readonly isTTY?: boolean; readonly answerMs?: number } = {}) {
  const { isTTY = true, ...rest } = options;
  const terminal = Object.assign(new PassThrough(), { isTTY });
  const output = new PassThrough({ encoding: 'utf8' });
  const down = new AbortController();
  const ask = askHuman({ terminal, output, signal: down.signal, ...rest });
  const shown = { text: '' };
  const saw = async (text: string) => {
    const seen = () => shown.text.includes(text);
    for await (const [chunk] of on(output, 'data')) {
      shown.text += String(chunk);
      if (seen()) return;
    }
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
  const asked = ask(from('anna@x/kith-1'));
  await saw('[y/N]');
  terminal.write(`${answer}\n`);
  expect(await asked).toBe(yes);
});

test('the question names the account and not the resource, and steers nothing', async () => {
  const { ask, terminal, shown, saw } = openTerminal();
  const asked = ask(from('an\u001b[2Jna\u202e@x/friend of yours\u0007'));
  await saw('[y/N]');
  terminal.write('y\n');
  expect(await asked).toBe(true);
  expect(shown.text).toBe(
    'anna?@x asks for a worker guest of job mesh: 112 MiB, 1 cpu, image micro (0123456789ab). Allow? [y/N] ',
  );
});

test('one person has one open question; another one waits his turn', async () => {
  const { ask, terminal, shown, saw } = openTerminal();
  const first = ask(from('anna@x/1'));
  await saw('[y/N]');
  const second = ask(from('bob@x/1'));
  expect(await ask(from('anna@x/2'))).toBe(false);
  const next = saw('bob@x asks');
  expect(shown.text).not.toContain('bob');
  terminal.write('y\n');
  expect(await first).toBe(true);
  await next;
  terminal.write('n\n');
  expect(await second).toBe(false);
  const again = ask(from('anna@x/2'));
  terminal.write('y\n');
  expect(await again).toBe(true);
});

test('kith down ends the prompt, and whoever waits for his turn', async () => {
  const { ask, down, saw } = openTerminal();
  const both = Promise.all([ask(from('anna@x/1')), ask(from('bob@x/1'))]);
  await saw('[y/N]');
  down.abort();
  expect(await both).toEqual([false, false]);
});

test('nobody answers, the terminal is closed, there is none: no', async () => {
  expect(await openTerminal({ answerMs: 1 }).ask(from('anna@x/1'))).toBe(false);
  expect(await openTerminal({ isTTY: false }).ask(from('anna@x/1'))).toBe(false);
  const closing = openTerminal();
  const asked = closing.ask(from('anna@x/1'));
  await closing.saw('[y/N]');
  closing.terminal.end();
  expect(await asked).toBe(false);
});
