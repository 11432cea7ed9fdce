/** A share of the processors, under a clock that the test moves. */
import { describe, expect, it } from 'vitest';
import { createThrottle } from '../../../src/guest/throttle.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

function throttled() {
  const clock = virtualClock();
  const sent: string[] = [];
  let here = true;
  const throttle = createThrottle({
    clock,
    send: (signal) => {
      if (here) sent.push(`${clock.now()} ${signal}`);
      return here;
    },
  });
  return { clock, sent, throttle, leave: () => (here = false) };
}

describe('the throttle', () => {
  it('lets QEMU run for its share of each tenth of a second', () => {
    const { clock, sent, throttle } = throttled();
    throttle.limit(30);
    clock.advance(200);
    expect(sent).toEqual(['0 SIGCONT', '30 SIGSTOP', '100 SIGCONT', '130 SIGSTOP', '200 SIGCONT']);
  });

  it('changes at once, and leaves QEMU running when it is lifted', () => {
    const { clock, sent, throttle } = throttled();
    throttle.limit(30);
    clock.advance(50);
    throttle.limit(60);
    clock.advance(60);
    throttle.limit(undefined);
    clock.advance(1000);
    expect(sent).toEqual(['0 SIGCONT', '30 SIGSTOP', '50 SIGCONT', '110 SIGSTOP', '110 SIGCONT']);
  });

  it('does nothing without a limit, and never starves QEMU', () => {
    const { clock, sent, throttle } = throttled();
    throttle.limit(100);
    clock.advance(500);
    expect(sent).toEqual([]);
    throttle.limit(0);
    clock.advance(6);
    expect(sent).toEqual(['500 SIGCONT', '505 SIGSTOP']);
  });

  it('ends with QEMU', () => {
    const { clock, sent, throttle, leave } = throttled();
    throttle.limit(50);
    leave();
    clock.advance(1000);
    expect(sent).toEqual(['0 SIGCONT']);
  });
});
