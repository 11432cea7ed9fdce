/** Every peer has a tunnel to the next one, so there are two ways round. Ends with a sweep of the LAN. */
import { defineJob, sweep } from 'kith';

export default defineJob({
  name: 'ring',
  topology: 'ring',
  network: { subnet: '10.77.0.0/24', mtu: 1500 },
  master: { image: 'micro', memoryMiB: 112 },
  worker: { image: 'micro', memoryMiB: 112, min: 1, max: 16 },
  async run({ lan, signal, print }) {
    await lan.ready({ signal });
    const { hosts, text } = await sweep(lan, { signal });
    print(text);
    return { hosts, ...(await lan.pingAll({ signal })) };
  },
});
