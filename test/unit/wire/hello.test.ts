/** Hellos of one wire: what counts as silence, and what does not. */
import { expect, test } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import { createHello } from '../../../src/wire/hello.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

function wire(clock: Clock, kind: 'live' | 'stanza' = 'live') {
  const asked: number[] = [];
  const silent: string[] = [];
  const hello = createHello({
    kind,
    clock,
    ask: () => asked.push(clock.now()),
    onProved: () => {},
    onMeasure: () => {},
    onSilent: (reason) => silent.push(reason),
  });
  return { hello, asked, silent, answer: () => hello.answered(asked.length) };
}

/** A process that stood still: time has passed, and its timers run late. */
function sleepyClock() {
  const inner = virtualClock();
  let slept = 0;
  return {
    clock: { ...inner, now: () => inner.now() + slept },
    advance: (ms: number) => inner.advance(ms),
    sleep: (ms: number) => void (slept += ms),
  };
}

test('a process that stood still does not take its own sleep for the silence of others', () => {
  const { clock, advance, sleep } = sleepyClock();
  const { hello, asked, silent, answer } = wire(clock);
  advance(0);
  answer();
  hello.carry(true);
  hello.used();
  advance(1000);
  const before = asked.length;
  sleep(60_000);
  advance(600);
  expect([silent, asked.length > before]).toEqual([[], true]);
  advance(2000);
  expect(silent).toEqual(['silent']);
});

test('a wire with a round trip of two seconds is slow, not dead', () => {
  const clock = virtualClock();
  const { hello, silent, asked } = wire(clock);
  clock.advance(0);
  clock.after(2000, () => hello.answered(1));
  clock.advance(2000);
  hello.carry(true);
  for (let i = 0; i < 100; i++) {
    hello.used();
    const seen = asked.length;
    clock.advance(100);
    for (let number = seen + 1; number <= asked.length; number++) clock.after(2000, () => hello.answered(number));
  }
  expect(silent).toEqual([]);
  expect(Math.abs((hello.roundTripMs ?? 0) - 2050)).toBeLessThan(60);
});

test('what was not answered in time counts as lost', () => {
  const clock = virtualClock();
  const { hello, asked } = wire(clock);
  clock.advance(0);
  hello.answered(1);
  hello.carry(true);
  for (let i = 0; i < 60; i++) {
    const seen = asked.length;
    clock.advance(500);
    hello.used();
    hello.heard(true);
    for (let number = seen + 1; number <= asked.length; number++) if (number % 4 !== 0) hello.answered(number);
  }
  clock.advance(1500);
  expect(hello.loss).toBeGreaterThan(0.2);
  expect(hello.loss).toBeLessThan(0.35);
});

test('a standby has no hellos at all, and asks as soon as it has to carry', () => {
  const clock = virtualClock();
  const { hello, asked, silent, answer } = wire(clock, 'stanza');
  clock.advance(0);
  answer();
  clock.advance(120_000);
  expect(asked).toHaveLength(1);
  hello.carry(true);
  expect(asked).toHaveLength(2);
  clock.advance(5000);
  expect([silent, hello.proved]).toEqual([['silent'], false]);
  // Whoever comes back later is heard.
  answer();
  expect(hello.proved).toBe(true);
});

test('an end that hears the other one for the first time asks again: its first hello may have come too early', () => {
  const clock = virtualClock();
  const { hello, asked } = wire(clock, 'stanza');
  clock.advance(1500);
  expect(asked).toHaveLength(1);
  hello.asked();
  clock.advance(0);
  expect(asked).toHaveLength(2);
});
