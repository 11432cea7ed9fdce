/** Where each guard stands: the expression in the source that is switched off to see its attack succeed. */
import type { Guard } from '../harness/evil-guards.ts';

const scram = 'src/xmpp/scram.ts';
const mailbox = 'src/xmpp/mailbox.ts';
const signed = 'src/trust/signed.ts';
const peer = 'src/peer/peer.ts';
const requests = 'src/peer/answer.ts';
const worker = 'src/job/worker.ts';
const sealedFrames = 'src/trust/frames.ts';
const signal = 'src/wire/signal.ts';
const direct = 'src/wire/direct.ts';
const directSignal = 'src/wire/direct-signal.ts';
const door = 'src/wire/direct-listener.ts';
const addresses = 'src/wire/addresses.ts';
const invitation = 'src/trust/invitation.ts';
const gate = 'src/trust/gate.ts';
const transfer = 'src/image/transfer.ts';
const membership = 'src/trust/membership.ts';
const circle = 'src/trust/circle.ts';
const standing = 'src/trust/standing.ts';
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

  'session.jid': { file: 'src/xmpp/session.ts', find: "jid !== '' && result.jid !== jid", off: 'false' },
  'ledger.count': { file: 'src/xmpp/ledger.ts', find: 'count > this.#entries.length', off: 'false' },
  'stream.inbox': {
    file: 'src/xmpp/stream.ts',
    find: 'inbox.push(element) > MAX_INBOX',
    off: 'inbox.push(element) < 0',
  },
  'requests.from': {
    file: 'src/xmpp/requests.ts',
    find: "!mayAnswer(stanza.attrs['from'] as string | undefined, entry.to)",
    off: 'false',
  },
  'inbox.once': { file: 'src/xmpp/inbox.ts', find: 'isRepeat(stanza)', off: 'false' },
  'mailbox.to': { file: mailbox, find: 'to !== session.jid', off: 'false' },
  'mailbox.busy': { file: mailbox, find: 'total >= MAX_RUNNING || mine >= MAX_RUNNING_PER_ACCOUNT', off: 'false' },
  'mailbox.reply': { file: mailbox, find: 'parseReply(message.kind, reply)', off: 'reply' },
  'signature.form': {
    file: signed,
    find: "!SIGNATURE.test(signature) || signed[SIGNATURE_LENGTH] !== '.'",
    off: 'false',
  },
  'mailbox.once': {
    file: mailbox,
    find: 'replays.once(ownText(`${from} ${id}`), () => answerEnvelope(from, text))',
    off: 'answerEnvelope(from, text)',
  },
  'mailbox.schema': {
    file: mailbox,
    find: "parseRequest(parseJson('message', 'xmpp.malformed', text, MAX_MESSAGE_BYTES))",
    off: 'JSON.parse(text)',
  },
  // A lenient reader: what is no JSON is a text.
  'mailbox.json': {
    file: mailbox,
    find: "parseRequest(parseJson('message', 'xmpp.malformed', text, MAX_MESSAGE_BYTES))",
    off: '{ kind: purpose, text }',
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
    off: "{ enc: 'A'.repeat(43), box: Buffer.from(text.padEnd(24)).toString('base64') }",
  },
  // Before the guards inside it.
  'box.open': {
    file: circle,
    find: 'openBox(keys.box, boxInfo(envelope, sender), envelope)',
    off: "Buffer.from(envelope.box, 'base64').toString()",
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

  'hello.signature': { file: checks, find: "isSignedBy(hello.device, 'hello', signed)", off: 'true' },
  'hello.room': { file: checks, find: 'hello.room === room', off: 'true' },
  'hello.jid': { file: checks, find: 'hello.jid === jid', off: 'true' },
  'hello.device': { file: checks, find: 'before === undefined || before.device === hello.device', off: 'true' },
  'hello.order': {
    file: checks,
    find: 'before === undefined || before.session !== hello.session || hello.counter >= before.counter',
    off: 'true',
  },
  'hello.banned': { file: circle, find: 'banned.has(hello.device)', off: 'false' },
  'hello.newKey': { file: checks, find: '!newKey', off: 'true' },
  'envelope.banned': { file: circle, find: 'banned.has(entry.member.device)', off: 'false' },
  'circle.unknown': { file: circle, find: 'entries.get(from)', off: '[...entries.values()][0]', times: 2 },
  'schema.capacity': { file: 'src/trust/hello.ts', find: 'parseCapacity(hello.capacity)', off: 'hello.capacity' },
  'certificate.inviter': { file: standing, find: 'proof.by !== inviter', off: 'false' },
  'certificate.room': { file: membership, find: 'certificate.room !== facts.room', off: 'false' },
  'certificate.device': { file: membership, find: 'certificate.device !== facts.device', off: 'false' },
  'certificate.account': { file: membership, find: 'certificate.account !== facts.account', off: 'false' },
  'certificate.until': { file: membership, find: 'certificate.until < facts.now - facts.skewMs', off: 'false' },
  'certificate.since': { file: membership, find: 'certificate.since > facts.now + facts.skewMs', off: 'false' },
  'statement.signature': { file: membership, find: 'isSignedBy(body.by, domain, signed)', off: 'true' },
  'vouch.strong': {
    file: standing,
    find: "known !== undefined && (known.pin === 'verified' || known.pin === 'invited')",
    off: 'true',
  },
  'bans.inviter': { file: circle, find: 'list.by !== inviter', off: 'false' },
  'bans.room': { file: circle, find: 'list.room !== room', off: 'false' },
  'bans.epoch': { file: circle, find: 'list.epoch <= epoch', off: 'false' },
  'bans.spread': { file: circle, find: 'bansText !== undefined && entry.epoch < epoch', off: 'false' },
  'ban.rotate': { file: 'src/trust/own-keys.ts', find: 'createBoxKey()', off: 'kept.at(-1)?.box ?? createBoxKey()' },

  'peer.stranger': { file: 'src/peer/trust.ts', find: "member?.trust === 'stranger'", off: 'false' },
  'peer.mayAsk': { file: peer, find: "options.role !== 'initiator' && isFriend(from)", off: 'true' },
  'peer.signal': {
    file: requests,
    find: '!worker.knows(from) && !isMember && !(worker.expecting && inRoom)',
    off: 'false',
  },
  'peer.image': { file: requests, find: '!job || !isMember || request.job !== job.id', off: 'false' },
  'peer.dismiss': { file: peer, find: 'banned.has(partners.deviceOf(jid))', off: 'false' },
  'policy.memory': { file: 'src/job/policy-caps.ts', find: 'memoryMiB > most - inUse.memoryMiB', off: 'false' },
  'lease.holder': { file: 'src/job/lease.ts', find: 'entry?.lease.holder !== holder', off: '!entry' },
  'report.holder': {
    file: 'src/job/membership.ts',
    find: 'place?.lease === lease ? place : undefined',
    off: '[...places.values()].find((each) => each.lease === lease)',
  },
  'plan.resources': {
    file: worker,
    find: 'guest.memoryMiB > terms.memoryMiB || guest.cpus > terms.cpus',
    off: 'false',
  },
  'plan.image': { file: worker, find: 'guest.image.hash !== terms.imageHash', off: 'false' },
  'plan.job': { file: worker, find: 'plan.job.id !== terms.job || plan.job.initiator !== from', off: 'false' },
  'plan.revision': { file: worker, find: 'plan.job.revision > now.plan.job.revision', off: 'true' },
  'plan.place': { file: worker, find: 'guest.node !== now.guest.node || guest.mac !== now.guest.mac', off: 'false' },
  'plan.self': {
    file: 'src/job/hosting.ts',
    find: 'plan.guests.find(({ peer }) => peer === self)',
    off: 'plan.guests[0]',
  },
  'plan.rules': { file: worker, find: 'parsePlan(request.plan)', off: 'request.plan' },

  'frames.seal': {
    file: sealedFrames,
    find: 'Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()])',
    off: 'Buffer.concat([payload, Buffer.alloc(TAG_BYTES)])',
  },
  'frames.tag': { file: sealedFrames, find: 'decipher.final()', off: 'Buffer.alloc(0)' },
  'frames.number': { file: sealedFrames, find: 'number <= from.number', off: 'false' },
  'frames.sender': {
    file: sealedFrames,
    find: 'receiveSecret(ownKey(), box, info(from, self(), link), key)',
    off: 'receiveSecret(ownKey(), globalThis.kithBox?.key ?? box, info(from, self(), link), key)',
  },
  'frames.link': {
    file: sealedFrames,
    find: "asciiJson(['kith:0 frames', room, from, to, link])",
    off: "asciiJson(['kith:0 frames', room, from, to])",
  },
  'frames.to': { file: 'src/xmpp/frames.ts', find: "stanza.attrs['to'] === session.jid", off: 'true' },
  'frames.size': { file: 'src/xmpp/frames.ts', find: 'text.length > MAX_TEXT', off: 'false' },
  'room.from': { file: 'src/xmpp/room.ts', find: 'bareJid(from) !== room', off: 'false' },
  'room.max': { file: 'src/xmpp/roster.ts', find: 'this.#byJid.size >= MAX_OCCUPANTS', off: 'false' },
  'signal.address': {
    file: signal,
    find: 'isIP(address) === 0 || Number(port) < 1 || Number(port) > 65_535',
    off: 'false',
  },
  'signal.text': { file: signal, find: '!SDP_TEXT.test(signal.sdp)', off: 'false' },
  'signal.shape': { file: signal, find: 'parseShape(data)', off: 'data' },
  'signals.early': { file: 'src/wire/signaling.ts', find: 'path.early.length >= MAX_EARLY_SIGNALS', off: 'false' },
  'signals.backlog': { file: 'src/wire/signaling.ts', find: 'backlog.length < MAX_EARLY_SIGNALS', off: 'true' },
  'signals.channels': { file: 'src/wire/signaling.ts', find: 'map.size <= max', off: 'true' },

  'direct.pin': { file: 'src/wire/direct-dial.ts', find: 'found !== fingerprint', off: 'false' },
  'direct.visitor': { file: door, find: 'visitor.fingerprint !== expected', off: 'false' },
  'direct.idle': { file: door, find: 'attempts === 0', off: 'false', times: 2 },
  'direct.pending': { file: door, find: 'pending.size >= MAX_PENDING', off: 'false' },
  'direct.preface': {
    file: directSignal,
    find: 'said.length === expected.length && timingSafeEqual(said, expected)',
    off: 'true',
  },
  'direct.shape': { file: directSignal, find: 'parseShape(data)', off: 'data' },
  'direct.endpoint': { file: directSignal, find: '!signal.candidates.every(isEndpoint)', off: 'false' },
  'direct.answers': { file: direct, find: 'signal.answers !== offered.fingerprint', off: 'false' },
  'direct.lan': { file: direct, find: 'signal.lan !== lan', off: 'false' },
  'direct.length': {
    file: 'src/wire/direct-stream.ts',
    find: 'length < HEADER_BYTES || length > MAX_BATCH',
    off: 'false',
  },
  'direct.loopback': { file: addresses, find: 'isLoopback(host) && !onLoopback', off: 'false' },
  'direct.port': { file: addresses, find: 'port < FIRST_PRIVATE_PORT && within(PRIVATE, host)', off: 'false' },

  'hello.session': { file: checks, find: '!over', off: 'true' },
  'history.floor': { file: circle, find: 'envelope.time > window.floor', off: 'true' },
  'invitation.signature': {
    file: invitation,
    find: "!isSignedBy(invitation.inviter, 'invitation', signed)",
    off: 'false',
  },
  'invitation.form': { file: invitation, find: "Buffer.from(signed).toString('base64url') !== code", off: 'false' },
  'invitation.expires': { file: invitation, find: 'invitation.expires <= now', off: 'false' },
  'token.client': { file: 'src/xmpp/register.ts', find: 'registrationToken(token)', off: 'token' },
  'token.server': { file: 'src/xmpp/server.ts', find: 'registrationToken(token)', off: 'token', times: 2 },
  'gate.uses': { file: gate, find: 'grant.devices.length >= grant.uses', off: 'false' },
  'gate.revoked': { file: gate, find: 'grant.revoked', off: 'false' },
  'gate.room': { file: gate, find: 'grant.room !== room', off: 'false' },
  'gate.expires': { file: gate, find: 'grant.expires <= now', off: 'false' },
  'image.manifest': { file: transfer, find: 'manifestHash(manifest) !== ref.hash', off: 'false' },
  'image.file': { file: transfer, find: "hash.digest('hex') !== sha256", off: 'false' },
  'store.file': { file: 'src/image/store.ts', find: '(await hashFile(path)) !== sha256', off: 'false' },
  'image.end': { file: transfer, find: 'reader.atEnd()', off: 'true' },
} as const satisfies Record<string, Guard>;

export type GuardName = keyof typeof guards;
