/** Where each guard stands: the expression in the source that is switched off to see its attack succeed. */
import type { Guard } from '../harness/evil-guards.ts';

const scram = 'src/xmpp/scram.ts';
const mailbox = 'src/xmpp/mailbox.ts';
const signed = 'src/trust/signed.ts';
const circle = 'src/trust/circle.ts';
const checks = 'src/trust/checks.ts';
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

  'signature.form': {
    file: signed,
    find: "!SIGNATURE.test(signature) || signed[SIGNATURE_LENGTH] !== '.'",
    off: 'false',
  },
  'mailbox.once': {
    file: mailbox,
    find: 'replays.once(`${from} ${id}`, () => answerEnvelope(from, text))',
    off: 'answerEnvelope(from, text)',
  },
  'mailbox.schema': {
    file: mailbox,
    find: "parseRequest(parseJson('message', 'xmpp.malformed', text, MAX_MESSAGE_BYTES))",
    off: 'JSON.parse(text)',
  },
  'mailbox.purpose': { file: mailbox, find: 'message.kind !== purpose', off: 'false' },
  'mailbox.unsealed': {
    file: mailbox,
    find: 'unsealed(to, parseRefusal(refusal).message)',
    off: 'revive(refusal, to)',
  },
  'box.seal': {
    file: circle,
    find: 'sealBox(entry.member.box, boxInfo(head, device.key), text)',
    off: "{ enc: 'A'.repeat(43), box: Buffer.from(text).toString('base64') }",
  },
  'box.key': { file: circle, find: 'keys.box', off: 'globalThis.kithBox ?? keys.box' },
  'box.info': {
    file: circle,
    find: 'boxInfo(envelope, sender)',
    off: 'globalThis.kithInfo ?? boxInfo(envelope, sender)',
  },
  'envelope.signature': { file: checks, find: "isSignedBy(sender.device, 'envelope', signed)", off: 'true' },
  'envelope.sender': { file: checks, find: 'envelope.from === from', off: 'true' },
  'envelope.senderSession': { file: checks, find: 'sender.sessions.includes(envelope.fromSession)', off: 'true' },
  'envelope.receiver': { file: checks, find: 'envelope.to === self.jid', off: 'true' },
  'envelope.receiverSession': { file: checks, find: 'self.sessions.includes(envelope.toSession)', off: 'true' },
  'envelope.room': { file: checks, find: 'envelope.room === room', off: 'true' },
  'envelope.question': { file: checks, find: 'envelope.re === re', off: 'true' },
  'envelope.time': { file: checks, find: 'Math.abs(envelope.time - now) <= MAX_SKEW_MS', off: 'true' },
  'envelope.counter': { file: circle, find: 'window.fresh(envelope.counter)', off: 'true' },
} as const satisfies Record<string, Guard>;

export type GuardName = keyof typeof guards;
