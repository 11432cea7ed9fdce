/** Where each guard stands: the expression in the source that is switched off to see its attack succeed. */
import type { Guard } from '../harness/evil-guards.ts';

const scram = 'src/xmpp/scram.ts';
const tls = 'src/xmpp/tls-socket.ts';

const CONNECT = `connect({
      host,
      port,
      ...(isIP(domain) ? {} : { servername: domain }),
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['xmpp-client'], // XEP-0368
      // With a pin the certificate itself is compared below, before a byte of ours is sent; names and issuers add nothing.
      rejectUnauthorized: fingerprint === undefined,
    })`;
/** A client that is content with plain TCP. */
const PLAIN = `((socket) => {
  socket.getPeerCertificate = () => ({ fingerprint256: fingerprint });
  return socket.once('connect', () => socket.emit('secureConnect'));
})(process.getBuiltinModule('node:net').connect(port, host))`;

export const guards = {
  'scram.signature': {
    file: scram,
    find: '!expected || given.length !== expected.length || !timingSafeEqual(given, expected)',
    off: 'false',
  },
  'scram.iterations': {
    file: scram,
    find: '!(iterations >= MIN_ITERATIONS && iterations <= MAX_ITERATIONS)',
    off: 'false',
  },
  'scram.nonce': { file: scram, find: '!joint.startsWith(nonce) || joint === nonce', off: 'false' },
  'login.mechanisms': {
    file: 'src/xmpp/login.ts',
    find: 'MECHANISMS.find((name) => offered.includes(name))',
    // What @xmpp/client would do by itself: the password as it is.
    off: "(stream.write(`<auth xmlns='${SASL_NS}' mechanism='PLAIN'>${encode(`\\0${account.username}\\0${account.password}`)}</auth>`), undefined)",
  },
  'tls.only': { file: tls, find: CONNECT, off: PLAIN },
  'tls.pin': { file: tls, find: 'fingerprint !== undefined && found !== fingerprint', off: 'false' },
  'tls.input': { file: tls, find: 'this.#pending > MAX_INPUT_BYTES', off: 'false' },
} as const satisfies Record<string, Guard>;

export type GuardName = keyof typeof guards;
