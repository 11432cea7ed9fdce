/** `kith demo --links`: an ssh session over a link that climbs and descends, a hub that is killed, a ring that is cut. */
import { expect, it } from 'vitest';
import { lastJson, openWorld } from '../harness/kith.ts';

/** Eight guests in two LANs, one of which starts over a server that takes 10 kB/s. */
const PATIENCE_MS = 900_000;

it(
  'keeps an ssh session alive on all rungs, finds a new hub, and goes round a cut',
  { timeout: PATIENCE_MS },
  async () => {
    await using world = await openWorld();
    const ended = await world.run(['demo', '--links', '--json']);
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    const { ok, climb, hub, ring } = lastJson(ended) as unknown as {
      readonly ok: boolean;
      readonly climb: readonly { readonly wire: string; readonly numbers: number; readonly mbits: number }[];
      readonly hub: { readonly killed: string; readonly next: string };
      readonly ring: { readonly cut: string };
    };
    expect(ok).toBe(true);
    expect(climb.map(({ wire }) => wire)).toEqual(['stanza', 'webrtc', 'direct', 'webrtc']);
    // The demo fails by itself when a line of the session is lost or comes twice.
    expect(Math.min(...climb.map(({ numbers }) => numbers))).toBeGreaterThanOrEqual(12);
    expect(hub).toMatchObject({ killed: expect.stringMatching(/^friend-\d$/) as unknown, next: 'worker-2' });
    expect(ring.cut).toBe('master - worker-1');
    // What each stage looked like to whoever asks: the table of `kith ps --links`.
    expect(ended.stderr).toMatch(/^master +worker-1 +stanza .*not allowed by the job/m);
    expect(ended.stderr).toMatch(/^master +worker-1 +direct /m);
    expect(ended.stderr).toMatch(/^master +worker-2 +\w+ /m);
    expect(ended.stderr).toMatch(/^master +worker-1 +down /m);
    expect(world.leftovers()).toEqual([]);
  },
);
