/** A segment behind one peer's port: all peers learn from its notes what is there, and send to it without asking everybody. */
import { expect, test } from 'vitest';
import { BROADCAST, frame, macOf, runOfFrames } from '../../harness/frames.ts';
import { openFabrics, planOf } from '../../harness/fabric.ts';
import { parsePlan } from '../../../src/protocol/plan.ts';

const DEVICE = '52:54:99:00:00:01';

test('frames for a device behind a segment go straight to it', async () => {
  const plan = planOf('star', [1, 2, 3]);
  const slots = plan.lan.slots.map((slot) => (slot.node === 3 ? { ...slot, segment: true } : slot));
  await using lan = openFabrics(parsePlan({ ...plan, lan: { ...plan.lan, slots } }));
  const own = slots.find(({ node }) => node === 2)!.mac;
  const say = (node: number, from: string, to: string, text: string) =>
    lan.at(node).fabric.fromPort(runOfFrames(frame({ from, to, text })));
  await lan.until(() => {
    say(3, DEVICE, BROADCAST, 'here I am');
    return lan.at(2).heard().includes('here I am');
  });
  // Before its note has arrived such a frame is for everybody, like any for an unknown address; afterwards for it alone.
  let straight = false;
  for (let i = 0; !straight && i < 1000; i++) {
    say(2, own, DEVICE, `try ${i}`);
    await lan.pass(100);
    straight = lan.at(3).heard().includes(`try ${i}`) && !lan.at(1).heard().includes(`try ${i}`);
  }
  expect(straight).toBe(true);
  say(2, macOf(77), BROADCAST, 'no segment here');
  await lan.pass(100);
  expect(lan.at(3).heard()).not.toContain('no segment here');
});

test('a device that moves to another segment is heard there once the first has forgotten it', async () => {
  const plan = planOf('star', [1, 2, 3]);
  const slots = plan.lan.slots.map((slot) => ({ ...slot, segment: slot.node !== 1 }));
  await using lan = openFabrics(parsePlan({ ...plan, lan: { ...plan.lan, slots } }));
  const say = (node: number, text: string) =>
    lan.at(node).fabric.fromPort(runOfFrames(frame({ from: DEVICE, to: BROADCAST, text })));
  await lan.until(() => {
    say(3, 'here');
    return lan.at(2).heard().includes('here');
  });
  await lan.pass(1000);
  say(2, 'too soon');
  await lan.pass(400_000);
  say(2, 'there');
  await lan.pass(1000);
  expect(lan.at(1).heard()).not.toContain('too soon');
  expect(lan.at(1).heard()).toContain('there');
});
