/** A request that arrives twice runs once; what is remembered is bounded. */
import { expect, test } from 'vitest';
import { ReplayCache } from '../../../src/xmpp/replay.ts';

test('a repeat gets the answer of the first run, also while that still runs', async () => {
  const cache = new ReplayCache();
  const gate = Promise.withResolvers<string>();
  let runs = 0;
  const make = () => {
    runs++;
    return gate.promise;
  };
  const answers = [cache.once('a 1', make), cache.once('a 1', make)];
  gate.resolve('done');
  expect(await Promise.all([...answers, cache.once('a 1', make)])).toEqual(['done', 'done', 'done']);
  expect(runs).toBe(1);
  await cache.once('b 1', make);
  expect(runs).toBe(2);
});

test('a thousand answers, or four megabytes, whatever is less', async () => {
  const cache = new ReplayCache();
  for (let index = 0; index < 1500; index++) await cache.once(`a ${index}`, async () => 'x');
  expect(cache.size).toBe(1000);
  for (let index = 0; index < 200; index++) await cache.once(`b ${index}`, async () => 'x'.repeat(60_000));
  expect(cache.size).toBeLessThan(72);
});
