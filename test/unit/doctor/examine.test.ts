/** The examination: side by side, in time, and no check able to spoil another. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import { broken, fine, skipped, weak, type Check, type CheckContext, type Finding } from '../../../src/doctor/check.ts';
import { examine, type CheckReport } from '../../../src/doctor/examine.ts';
import { virtualClock, type VirtualClock } from '../../harness/virtual-clock.ts';

let clock: VirtualClock;
let stop: AbortController;
let reported: CheckReport[];
beforeEach(() => {
  clock = virtualClock();
  stop = new AbortController();
  reported = [];
});
afterEach(() => stop.abort());

/** These checks ask for nothing but the time. */
const contextOf = (clock: VirtualClock) => ({ clock }) as unknown as CheckContext;

const check = (name: string, run: Check['run'], more: Partial<Check> = {}): Check => ({
  name,
  deadlineMs: 1000,
  cost: `${name} is missed`,
  run,
  ...more,
});
const says = (name: string, finding: Finding, more: Partial<Check> = {}) => check(name, async () => finding, more);
const run = (...checks: Check[]) =>
  examine(checks, contextOf(clock), {
    signal: stop.signal,
    onReport: (report) => reported.push(report),
  });
/** Never answers; `begun` tells that it was asked. */
function hanging(name: string) {
  const begun = Promise.withResolvers<AbortSignal>();
  const run: Check['run'] = (_context, signal) => {
    begun.resolve(signal);
    return new Promise<never>(() => {});
  };
  return { check: check(name, run), begun: begun.promise };
}

test('nothing broken is ok, in the order of the table', async () => {
  const result = await run(
    says('a', fine('works')),
    says('b', weak('slow', 'time', 'wait')),
    says('c', skipped('nobody asked', 'knowledge', 'ask')),
  );
  expect(result).toEqual({
    ok: true,
    checks: [
      { name: 'a', state: 'fine', found: 'works' },
      { name: 'b', state: 'weak', found: 'slow', cost: 'time', todo: 'wait' },
      { name: 'c', state: 'skipped', found: 'nobody asked', cost: 'knowledge', todo: 'ask' },
    ],
  });
  expect((await run(says('a', broken('dead', 'all', 'bury')))).ok).toBe(false);
});

test('findings are told as they come, not as they stand in the table', async () => {
  const slow = Promise.withResolvers<Finding>();
  const told: string[] = [];
  const result = await examine([check('slow', () => slow.promise), says('quick', fine('works'))], contextOf(clock), {
    signal: stop.signal,
    onReport: ({ name }) => {
      told.push(name);
      slow.resolve(fine('at last'));
    },
  });
  expect(told).toEqual(['quick', 'slow']);
  expect(result.checks.map(({ name }) => name)).toEqual(['slow', 'quick']);
});

test('one check may find several things, each with its own name', async () => {
  const parts = check('box', async () => [
    { part: 'seccomp', ...fine('works') },
    { part: 'memory', ...weak('no limit', 'a guest may eat all', 'allow it') },
  ]);
  expect((await run(parts)).checks.map(({ name }) => name)).toEqual(['box: seccomp', 'box: memory']);
});

test('a check that throws is broken, says why and what to do, and the rest go on', async () => {
  const { ok, checks } = await run(
    check('ours', () => Promise.reject(new KithError({ code: 'x', message: 'no QEMU', hint: 'install it' }))),
    check('foreign', () => Promise.reject(new TypeError('undefined is not a cow'))),
    check('early', () => {
      throw new Error('before it began');
    }),
    says('rest', fine('works')),
  );
  expect(ok).toBe(false);
  expect(checks).toMatchObject([
    { name: 'ours', state: 'broken', found: 'no QEMU', cost: 'ours is missed', todo: 'install it' },
    { name: 'foreign', state: 'broken', found: 'undefined is not a cow', cost: 'foreign is missed' },
    { name: 'early', state: 'broken', found: 'before it began' },
    { name: 'rest', state: 'fine' },
  ]);
  for (const { todo } of checks.slice(0, 3)) expect(todo).toMatch(/\w/);
});

test('a check that hangs, deaf to its signal, is broken after its deadline', async () => {
  const deaf = hanging('deaf');
  const result = run(deaf.check, says('rest', fine('works')));
  const signal = await deaf.begun;
  clock.advance(999);
  expect(signal.aborted).toBe(false);
  clock.advance(1);
  expect(signal.reason).toMatchObject({ code: 'doctor.deadline' });
  expect((await result).checks).toMatchObject([
    { name: 'deaf', state: 'broken', found: 'no answer within 1 s', cost: 'deaf is missed' },
    { name: 'rest', state: 'fine' },
  ]);
});

test('what follows from something broken is not looked at, and points to the root of it', async () => {
  let looked = false;
  const { checks } = await run(
    says('server', broken('down', 'all', 'start it')),
    says('login', fine('works'), { after: ['server'] }),
    check('room', async () => ((looked = true), fine('works')), { after: ['login'] }),
    says('apart', fine('works')),
  );
  expect(looked).toBe(false);
  const pointer = { state: 'skipped', found: 'not looked at: see server', todo: 'see to server first' };
  expect(checks.slice(1)).toMatchObject([
    { name: 'login', ...pointer },
    { name: 'room', ...pointer, cost: 'room is missed' },
    { name: 'apart', state: 'fine' },
  ]);
});

test('what follows from something weak is looked at, and its time begins then', async () => {
  const first = Promise.withResolvers<Finding>();
  const second = hanging('second');
  const begun = Promise.withResolvers<void>();
  const asked = check('first', () => (begun.resolve(), first.promise), { deadlineMs: 5000 });
  const result = run(asked, { ...second.check, after: ['first'] });
  await begun.promise;
  clock.advance(3000);
  first.resolve(weak('slow', 'time', 'wait'));
  const signal = await second.begun;
  clock.advance(999);
  expect(signal.aborted).toBe(false);
  clock.advance(1);
  expect((await result).checks).toMatchObject([{ state: 'weak' }, { state: 'broken' }]);
});

test('Ctrl-C ends it with its own reason, without a list of broken things', async () => {
  const deaf = hanging('deaf');
  const result = run(deaf.check, says('after', fine('works'), { after: ['deaf'] }));
  await deaf.begun;
  stop.abort(new DOMException('stopped', 'AbortError'));
  await expect(result).rejects.toThrow('stopped');
  expect(reported).toEqual([]);
});
