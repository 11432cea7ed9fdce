/** The bounded queue against the simplest thing that does the same: an array. */
import { array, assert, constant, integer, oneof, property, record } from 'fast-check';
import { expect, test } from 'vitest';
import { BoundedQueue } from '../../../src/base/queue.ts';

const MAX = 100;

interface Item {
  readonly size: number;
}

const steps = array(
  oneof(
    { weight: 3, arbitrary: record({ push: integer({ min: 1, max: 130 }) }) },
    { weight: 2, arbitrary: constant('shift' as const) },
    { weight: 1, arbitrary: constant('clear' as const) },
  ),
  { maxLength: 400, size: 'max' },
);

/** The same in the plainest way; each step answers what the queue must answer. */
class Model {
  items: Item[] = [];
  dropped = 0;

  get bytes(): number {
    return this.items.reduce((sum, { size }) => sum + size, 0);
  }

  push(item: Item): boolean {
    if (item.size > MAX) {
      this.dropped++;
      return false;
    }
    while (this.bytes + item.size > MAX) {
      this.items.shift();
      this.dropped++;
    }
    return this.items.push(item) > 0;
  }

  clear(): void {
    this.items = [];
  }
}

test('keeps order, never holds more than its bytes, and counts each item that it dropped', () => {
  assert(
    property(steps, (all) => {
      const queue = new BoundedQueue<Item>(MAX, ({ size }) => size);
      const model = new Model();
      for (const step of all) {
        const item = typeof step === 'object' ? { size: step.push } : undefined;
        const answers = (to: BoundedQueue<Item> | Model) => {
          if (item) return to.push(item);
          if (step === 'clear') return to.clear();
          return to instanceof Model ? to.items.shift() : to.shift();
        };
        expect(answers(queue)).toBe(answers(model));
        expect([queue.length, queue.bytes, queue.dropped]).toEqual([model.items.length, model.bytes, model.dropped]);
        expect(queue.peek()).toBe(model.items[0]);
      }
    }),
  );
});

test('one that is filled and emptied for long stays in order', () => {
  const queue = new BoundedQueue<number>(1000, () => 1);
  const out: (number | undefined)[] = [];
  for (let round = 0; round < 2000; round++) {
    queue.push(2 * round);
    queue.push(2 * round + 1);
    const many = queue.length > 500 ? 400 : 1;
    for (let index = 0; index < many; index++) out.push(queue.shift());
  }
  expect(out).toEqual(Array.from(out, (_, index) => index));
  expect(queue.dropped).toBe(0);
});
