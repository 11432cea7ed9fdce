/** A star around a worker: when the hub's machine goes away, the next one takes its place. Ends with a sweep of the LAN. */
import { defineJob, sweep } from 'kith';

export default defineJob({
  name: 'hub',
  topology: { star: ['worker-1', 'worker-2'] },
  network: { subnet: '10.77.0.0/24', mtu: 1500 },
  master: { image: 'micro', memoryMiB: 112 },
  worker: { image: 'micro', memoryMiB: 112, min: 2, max: 16 },
  async run({ lan, signal, print }) {
    await lan.ready({ signal });
    const { hosts, text } = await sweep(lan, { signal });
    print(text);
    return { hosts, ...(await lan.pingAll({ signal })) };
  },
});
