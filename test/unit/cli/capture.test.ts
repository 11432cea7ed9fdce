/** What the words after `kith capture` mean. */
import { expect, test } from 'vitest';
import { targetOf } from '../../../src/cli/capture.ts';

const GUESTS = ['master', 'worker-1', 'worker-2'];

test.each([
  [['worker-1'], { guest: 'worker-1' }],
  [['master', 'worker-1'], { link: ['master', 'worker-1'] }],
  [['worker-1,worker-2'], { link: ['worker-1', 'worker-2'] }],
  [['worker-1 - worker-2'], { link: ['worker-1', 'worker-2'] }],
  [['worker-1-worker-2'], { link: ['worker-1', 'worker-2'] }],
  // The peer knows best that there is no such guest.
  [['worker-9'], { guest: 'worker-9' }],
  [['a,b,c'], { guest: 'a,b,c' }],
])('%j', (words, target) => {
  expect(targetOf(words, GUESTS)).toEqual(target);
});

test('what can be two links is none', () => {
  expect(targetOf(['a-b-c'], ['a', 'b-c', 'a-b', 'c'])).toEqual({ guest: 'a-b-c' });
});
