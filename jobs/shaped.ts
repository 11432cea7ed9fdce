/** Two guests on a link that gets worse step by step; pings show how it feels. What a link suffers is said in the words of netem. */
import { defineJob } from 'kith';

const STEPS = [
  ['as it is', {}],
  ['50 ms each way', { delay: '50ms' }],
  ['50 ms and 10 of jitter', { delay: '50ms', jitter: '10ms' }],
  ['20 ms, one frame in ten lost', { delay: '20ms', loss: '10%' }],
  ['256 kbit/s', { rate: '256kbit' }],
] as const;

/** `rtt min/avg/max/mdev = …` of iputils, `round-trip min/avg/max = …` of busybox. */
const SUMMARY = /(\d+)% packet loss[^]*?min\/avg\/max(?:\/mdev)? = [\d.]+\/([\d.]+)/;

export default defineJob({
  name: 'shaped',
  topology: { edges: [['master', 'worker-1']] },
  worker: { image: 'micro', memoryMiB: 112, min: 1, max: 1 },
  async run({ lan, signal, print }) {
    await lan.ready({ signal });
    const link = lan.link('master', 'worker-1');
    const results = [];
    for (const [name, shape] of STEPS) {
      await link.shape(shape);
      const ping = ['ping', '-c', '20', '-i', '0.2', '-W', '5', lan.guest('worker-1').address];
      const { stdout } = await lan.master.exec(ping, { signal });
      const [, loss = '100', average = '-'] = SUMMARY.exec(stdout) ?? [];
      print(`${name}: ${average} ms, ${loss}% lost`);
      results.push({ name, roundTripMs: Number(average), lossPercent: Number(loss) });
    }
    await link.clear();
    return { results };
  },
});
