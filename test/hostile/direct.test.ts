/** Direct wires between the server that carries their signals, strangers at the door, and peers who lie. */
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls, createServer, type SecureContext, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, vi } from 'vitest';
import { makeCertificate } from '../../src/base/certificate.ts';
import { silentLog } from '../../src/base/log.ts';
import { readEnvelope } from '../../src/trust/envelope.ts';
import { dialOrder, type Endpoint } from '../../src/wire/addresses.ts';
import { openDirect } from '../../src/wire/direct.ts';
import { openDirectListener } from '../../src/wire/direct-listener.ts';
import { prefacesOf, type DirectAnswer, type DirectOffer } from '../../src/wire/direct-signal.ts';
import { createSignalRouter, type SignalPipe, type SignalRouter } from '../../src/wire/signaling.ts';
import { xml, type Element } from '../../src/xmpp/xml.ts';
import { KITH_NS } from '../../src/protocol/namespaces.ts';
import { directStage, withCandidates } from '../harness/direct.ts';
import type { Friend } from '../harness/evil-friends.ts';
import { attacks, type Attack, type Outcome } from '../harness/evil-rows.ts';
import { textOf } from '../harness/evil-words.ts';
import { amongFriends, openEvilWorld, type EvilWorld } from '../harness/evil-world.ts';
import { holdings } from '../harness/leaks.ts';
import { soon } from '../harness/xmpp.ts';

let world: EvilWorld;
beforeAll(async () => {
  world = await openEvilWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const HOST = '127.0.0.1';
const CHANNEL = 'link:job:1-2:direct';
const NONCE = 'A'.repeat(22);
const judge = (success: boolean, why: string): Outcome => (success ? 'succeeded' : `refused: ${why}`);

/** A pipe without a network behind it: what is said comes out, what is to be heard goes in. */
function barePipe() {
  const said = Promise.withResolvers<unknown>();
  const heard = Promise.withResolvers<unknown>();
  const pipe: SignalPipe = {
    async send(data) {
      said.resolve(data);
    },
    onData(handler) {
      void heard.promise.then(handler);
      return () => {};
    },
  };
  return { pipe, said: said.promise, hear: heard.resolve };
}

/** Signals of a friend over his mailbox, as peers send them. */
function routerOf(friend: Friend): SignalRouter {
  const router = createSignalRouter({
    log: silentLog,
    send: async (to, { channel, session, data }) => {
      await friend.mailbox.request(to, { kind: 'signal', channel, session, data } as never);
    },
  });
  friend.answerWith(() => {
    const { from, message } = friend.heard.at(-1)!;
    if (message.kind === 'signal') router.dispatch(from, message.channel, message.session, message.data);
    return {};
  });
  return router;
}

/** The data of a signal in an envelope that is not sealed; undefined if it is. */
function dataIn(signed: string): { readonly data: unknown } | undefined {
  try {
    return JSON.parse(Buffer.from(readEnvelope(signed).box, 'base64').toString()) as { data: unknown };
  } catch {
    return undefined;
  }
}

/** The same signed text around other data; the signature is the old one. */
function rewritten(stanza: Element, data: unknown): Element {
  const signed = textOf(stanza);
  const body = signed.slice(signed.indexOf('.') + 1);
  const box = Buffer.from(JSON.stringify({ ...dataIn(signed), data })).toString('base64');
  const text = signed.slice(0, -body.length) + JSON.stringify({ ...JSON.parse(body), box });
  return xml('iq', stanza.attrs, xml('kith', { xmlns: KITH_NS }, text));
}

/** Alice offers; Ben's answer is made up here, by one who saw her offer. What comes of it shows in her wire. */
async function againstAlice(options: {
  /** Changes in the answer. */
  readonly answer?: Partial<DirectAnswer>;
  /** The nonce that the liar's preface is made with. */
  readonly nonce?: string;
  /** Whose certificate the liar shows; default Ben's. */
  readonly context?: SecureContext;
  /** What he says once he is in. */
  readonly goOn?: (liar: TLSSocket) => void;
  /** Default: he succeeded if Alice has a wire. */
  readonly until?: (batch: Promise<Uint8Array>, closed: Promise<string>) => Promise<Outcome>;
}): Promise<Outcome> {
  await using stage = await directStage();
  const { a: alice, b: ben } = stage.listeners;
  const { pipe, said, hear } = barePipe();
  const batch = Promise.withResolvers<Uint8Array>();
  const over = new AbortController();
  const opening = openDirect({
    listener: alice,
    offer: true,
    pipe,
    lan: 1,
    onBatch: (got) => batch.resolve(got),
    timeoutMs: 60_000,
    log: silentLog,
    signal: over.signal,
  });
  opening.catch(() => {});
  const offer = (await said) as DirectOffer;
  const answer: DirectAnswer = {
    type: 'direct-answer',
    lan: 1,
    fingerprint: ben.fingerprint,
    nonce: NONCE,
    candidates: [],
    answers: alice.fingerprint,
    ...options.answer,
  };
  hear(answer);
  const liar = connectTls({
    ...offer.candidates[0]!,
    secureContext: options.context ?? ben.context,
    rejectUnauthorized: false,
  });
  const gone = new Promise<Outcome>((resolve) => liar.on('close', () => resolve('refused: he is shown out')));
  liar.on('error', () => {});
  liar.on('data', () => {}); // or he never sees the end
  liar.on('secureConnect', () => {
    liar.write(prefacesOf(offer, { ...answer, nonce: options.nonce ?? NONCE }, 1).answerer);
    options.goOn?.(liar);
  });
  const succeeded = opening.then(
    (wire) => options.until?.(batch.promise, wire.closed) ?? ('succeeded' as const),
    (error: Error): Outcome => `refused: ${error.message}`,
  );
  const outcome = await Promise.race([succeeded, ...(options.until ? [] : [gone])]);
  over.abort();
  liar.destroy();
  return outcome;
}

const strangerContext = async (): Promise<SecureContext> => {
  await using listener = await openDirectListener({ bindAddress: HOST, log: silentLog });
  return listener.context;
};

/** Signals of a plan mate; it succeeded if they come through to where they would be used. */
const signalled = (candidates: readonly unknown[]) => async (): Promise<Outcome> => {
  const router = createSignalRouter({ send: async () => {}, log: silentLog });
  const data = { type: 'direct-offer', lan: 1, fingerprint: '0'.repeat(64), nonce: NONCE, candidates };
  router.dispatch('mallory', CHANNEL, 'session', data);
  using pipe = router.pipe({ peer: 'mallory', channel: CHANNEL, offer: false });
  let got = false;
  pipe.onData(() => (got = true));
  return judge(got, 'it does not pass');
};

const dialled = (candidate: Endpoint) => async (): Promise<Outcome> => {
  const own = [{ host: '192.168.1.2', port: 4000 }];
  return judge(dialOrder({ candidates: [candidate], interfaces: {}, own }).length > 0, 'it is not dialled');
};

const rows: readonly Attack<EvilWorld>[] = [
  {
    name: 'server sits inside a direct wire: certificates and addresses swapped in both signals',
    guard: 'envelope: sealed and signed, fingerprints included',
    // The last one: an answer names the very text that it answers, so that whoever asked hears of the change.
    off: ['envelope.signature', 'box.seal', 'box.open', 'envelope.question'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      await using listener = await openDirectListener({ bindAddress: HOST, log: silentLog });
      const over = new AbortController();
      const common = { listener, lan: 1, log: silentLog, signal: over.signal };
      const done = Promise.withResolvers<Outcome>();
      const [asBen, asAlice] = [barePipe(), barePipe()];
      let read = 0;
      const onBatch = () => void (++read === 2 && done.resolve('succeeded'));
      const halves = [
        openDirect({ ...common, offer: false, pipe: asBen.pipe, onBatch }),
        openDirect({ ...common, offer: true, pipe: asAlice.pipe, onBatch }),
      ];
      const stop = evil.run(({ client, direction, stanza }) => {
        if (direction !== 'toServer' || stanza.attrs['type'] !== 'set' || !textOf(stanza)) return undefined;
        const signal = dataIn(textOf(stanza));
        if (!signal) {
          done.resolve('refused: it reads noise');
          return undefined;
        }
        const [mine, theirs] = client === alice.jid ? [asBen, asAlice] : [asAlice, asBen];
        mine.hear(signal.data);
        const copy = xml('iq', { ...stanza.attrs, from: client }, xml('kith', { xmlns: KITH_NS }, textOf(stanza)));
        void theirs.said.then((data) => evil.inject(client === alice.jid ? ben.jid : alice.jid, rewritten(copy, data)));
        return 'drop';
      });
      const [fromAlice, fromBen] = [routerOf(alice), routerOf(ben)];
      const ends = [
        { offer: true, pipe: fromAlice.pipe({ peer: ben.jid, channel: CHANNEL, offer: true }) },
        { offer: false, pipe: fromBen.pipe({ peer: alice.jid, channel: CHANNEL, offer: false }) },
      ].map(async (how) => {
        await using own = await openDirectListener({ bindAddress: HOST, log: silentLog });
        await using wire = await openDirect({ ...how, listener: own, lan: 1, onBatch: () => {}, log: silentLog });
        wire.send(new Uint8Array(100));
        await done.promise;
      });
      for (const end of [...ends, ...halves]) end.catch((error: Error) => done.resolve(`refused: ${error.message}`));
      const outcome = await done.promise;
      stop();
      over.abort();
      await Promise.allSettled([...ends, ...halves.map(async (half) => (await half)[Symbol.asyncDispose]())]);
      return outcome;
    }),
  },
  {
    name: 'server leads a direct wire to its own address',
    guard: 'direct: certificate pinned to the signal, before a byte is said',
    off: ['direct.pin'],
    async attack() {
      const { key, certificate } = await makeCertificate('kith');
      const server = createServer({ key, cert: certificate, requestCert: true, rejectUnauthorized: false });
      server.listen(0, HOST);
      await once(server, 'listening');
      const { port } = server.address() as { port: number };
      const signals: { offer?: DirectOffer; answer?: DirectAnswer } = {};
      await using stage = await directStage((signal, from) => {
        signals[from === 'a' ? 'offer' : 'answer'] = signal.data as never;
        return [withCandidates(signal, port)];
      });
      // He knows both signals, and so what Ben would say.
      server.on('secureConnection', (socket) => {
        socket.on('error', () => {});
        socket.write(prefacesOf(signals.offer!, signals.answer!, 1).answerer);
      });
      const over = new AbortController();
      const opening = stage.dial('a', { timeoutMs: 4000 });
      stage.dial('b', { signal: over.signal }).catch(() => {});
      const outcome = await opening.then(
        async (wire): Promise<Outcome> => {
          await wire[Symbol.asyncDispose]();
          return 'succeeded';
        },
        (error: Error): Outcome => `refused: ${error.message}`,
      );
      over.abort();
      server.close();
      return outcome;
    },
  },
  {
    name: 'stranger comes instead of the peer, with a certificate of his own',
    guard: 'direct: certificate pinned to the signal, at the door too',
    off: ['direct.visitor'],
    attack: async () => againstAlice({ context: await strangerContext() }),
  },
  {
    name: 'peer says the words of another attempt',
    guard: 'direct: preface made of both signals',
    off: ['direct.preface'],
    attack: () => againstAlice({ nonce: 'B'.repeat(22) }),
  },
  {
    name: 'answer to another offer',
    guard: 'direct: the answer names the offer',
    off: ['direct.answers'],
    attack: () => againstAlice({ answer: { answers: 'b'.repeat(64) } }),
  },
  {
    name: 'answer of another LAN',
    guard: 'direct: one LAN at both ends',
    off: ['direct.lan'],
    attack: () => againstAlice({ answer: { lan: 2 } }),
  },
  {
    name: 'batch larger than any may be',
    guard: 'direct: length checked before anything is kept for it',
    off: ['direct.length'],
    attack: () =>
      againstAlice({
        goOn(liar) {
          const batch = Buffer.alloc(300_000);
          batch.writeUInt32BE(batch.length - 4);
          liar.write(batch);
        },
        until: (batch, closed) =>
          Promise.race([
            batch.then((): Outcome => 'succeeded'),
            closed.then((reason): Outcome => `refused: ${reason}`),
          ]),
      }),
  },
  {
    name: 'connection while nobody is expected',
    guard: 'direct: open during attempts alone',
    off: ['direct.idle'],
    async attack() {
      await using stage = await directStage();
      const liar = connectTls({ ...stage.listeners.a.endpoints()[0]!, rejectUnauthorized: false });
      liar.on('error', () => {});
      const outcome = await Promise.race([
        once(liar, 'secureConnect').then(
          (): Outcome => 'succeeded',
          (): Outcome => 'refused: it ends at once',
        ),
        new Promise<Outcome>((resolve) => liar.on('close', () => resolve('refused: it ends at once'))),
      ]);
      liar.destroy();
      return outcome;
    },
  },
  {
    name: 'flood of connections that say nothing',
    guard: 'direct: at most 64 wait at the door',
    off: ['direct.pending'],
    async attack() {
      await using stage = await directStage();
      using _ = stage.listeners.a.attempt();
      const before = holdings().handles['TCPSocketWrap'] ?? 0;
      let closed = 0;
      const liars = Array.from({ length: 100 }, () =>
        connectTcp(stage.listeners.a.endpoints()[0]!)
          .on('error', () => {})
          .on('close', () => closed++)
          .resume(),
      );
      const outcome = await vi.waitFor((): Outcome => {
        if ((holdings().handles['TCPSocketWrap'] ?? 0) - before === 200) return 'succeeded';
        if (closed < 36) throw new Error('not yet');
        return 'refused: the oldest have to go';
      }, soon);
      for (const liar of liars) liar.destroy();
      return outcome;
    },
  },
  ...['printer.lan', '224.0.0.1', '0.0.0.0', '169.254.169.254', '::ffff:127.0.0.1', '::', 'fe80::1', '127.1'].map(
    (host): Attack<EvilWorld> => ({
      name: `direct candidate ${host}`,
      guard: 'direct signal: addresses of hosts only',
      off: ['direct.endpoint'],
      attack: signalled([{ host, port: 4000 }]),
    }),
  ),
  {
    name: 'more direct candidates than a host has addresses',
    guard: 'direct signal: schema with limits',
    off: ['direct.shape'],
    attack: signalled(Array.from({ length: 9 }, () => ({ host: '192.0.2.1', port: 4000 }))),
  },
  {
    name: 'friend makes us dial our own loopback',
    guard: 'direct: loopback only if we listen there alone',
    off: ['direct.loopback'],
    attack: dialled({ host: HOST, port: 6000 }),
  },
  {
    name: 'friend makes us dial the router',
    guard: 'direct: no well-known port of a private address',
    off: ['direct.port'],
    attack: dialled({ host: '192.168.1.1', port: 80 }),
  },
];

attacks(rows, () => world);
