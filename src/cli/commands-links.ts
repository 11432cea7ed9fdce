/** Commands that take links of a running job in hand, or look at what they carry: part of the command table. */
import type { Command } from './command.ts';

const peer = {
  options: { peer: { type: 'string' } },
  optionHelp: { peer: 'name of the running peer to talk to' },
} as const;

export const linkCommands: readonly Command[] = [
  {
    name: 'shape',
    purpose: 'make a link of the running job slow, late or lossy (words and units of netem), or well again',
    usage: '<guest> <guest>',
    example: 'kith shape worker-1 worker-2 --rate 10mbit --delay 20ms --jitter 5ms --loss 1%',
    options: {
      ...peer.options,
      rate: { type: 'string' },
      delay: { type: 'string' },
      jitter: { type: 'string' },
      loss: { type: 'string' },
      duplicate: { type: 'string' },
      reorder: { type: 'string' },
      corrupt: { type: 'string' },
      limit: { type: 'string' },
      both: { type: 'boolean' },
      there: { type: 'boolean' },
      clear: { type: 'boolean' },
    },
    optionHelp: {
      rate: 'bits per second: 10mbit, 1gbit, 512kibit; 125kbps is bytes',
      delay: 'each way: 20ms, 300us, 1.5s',
      jitter: 'the delay varies by so much up and down: 5ms',
      loss: 'share of frames that vanish: 1%',
      duplicate: 'share of frames that arrive twice: 0.1%',
      reorder: 'share of batches that go at once while others wait for the delay: 5%',
      corrupt: 'share of frames with one bit flipped: 0.01%',
      limit: 'frames that may wait, default 1000; or bytes: 64kb',
      both: 'both ways alike, the default',
      there: 'only from the first guest to the second',
      clear: 'no shape any more',
      ...peer.optionHelp,
    },
    load: () => import('./shape.ts'),
  },
  {
    name: 'link',
    purpose: 'show a link of the running job, choose its wires, cut it or restore it',
    usage: '<guest> <guest>',
    example: 'kith link worker-1 worker-2 --wires webrtc,stanza',
    options: {
      ...peer.options,
      wires: { type: 'string' },
      cut: { type: 'boolean' },
      restore: { type: 'boolean' },
    },
    optionHelp: {
      wires: 'only these, best first: some of direct, webrtc, stanza',
      cut: 'no wire at all: frames go another way if there is one',
      restore: 'the wires of the job again',
      ...peer.optionHelp,
    },
    load: () => import('./link.ts'),
  },
  {
    name: 'capture',
    purpose: 'write the frames of a guest or a link to a file for Wireshark, until Ctrl-C',
    usage: '<guest | guest,guest> -w <file.pcapng>',
    example: 'kith capture master -w - | tshark -r -',
    options: {
      ...peer.options,
      write: { type: 'string', short: 'w' },
      force: { type: 'boolean' },
      count: { type: 'string' },
      seconds: { type: 'string' },
      snaplen: { type: 'string' },
    },
    optionHelp: {
      write: '-w for short; - is standard output',
      force: 'write over a file that is there',
      count: 'end after so many frames',
      seconds: 'end after so long',
      snaplen: 'bytes of each frame to keep, at most and by default 24000',
      ...peer.optionHelp,
    },
    load: () => import('./capture.ts'),
  },
];
