/** Which of the services that a server names are used, and when it is asked again. */
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { externalIceServers } from '../../../src/xmpp/external-services.ts';
import { xml } from '../../../src/xmpp/xml.ts';

const NOW = Date.parse('2026-01-01T00:00:00Z');
const turn = { type: 'turn', transport: 'udp', host: 'turn.example', port: '3478', username: 'u', password: 'p' };
type Attributes = Record<string, string>;

function world(answers: (readonly Attributes[] | Error)[], configured: readonly string[] = []) {
  let time = NOW;
  let asked = 0;
  const servers = externalIceServers({
    configured,
    now: () => time,
    log: silentLog,
    session: {
      jid: 'me@example.org/x',
      async request(to) {
        expect(to).toBe('example.org');
        const answer = answers[Math.min(asked++, answers.length - 1)]!;
        if (answer instanceof Error) throw answer;
        const services = answer.map((attributes) => xml('service', attributes));
        return xml('iq', { type: 'result' }, xml('services', { xmlns: 'urn:xmpp:extdisco:2' }, ...services));
      },
    },
  });
  return { servers, asked: () => asked, pass: (minutes: number) => (time += minutes * 60_000) };
}

const servers = (...services: Attributes[]) => world([services]).servers();

describe('services', () => {
  test('become what the data channels take, STUN first, credentials encoded', async () => {
    expect(
      await servers(
        { ...turn, username: '1767225600:anna', password: 'a+/=@:' },
        { type: 'stun', host: '2001:db8::1', port: '5000' },
        { type: 'stun', transport: 'udp', host: 'stun.example' },
      ),
    ).toEqual([
      'stun:[2001:db8::1]:5000',
      'stun:stun.example:3478',
      'turn:1767225600%3Aanna:a%2B%2F%3D%40%3A@turn.example:3478',
    ]);
  });

  test.each<[string, Attributes]>([
    ['over TCP', { ...turn, transport: 'tcp' }],
    ['with TLS', { ...turn, type: 'turns' }],
    ['of another kind', { ...turn, type: 'ftp' }],
    ['TURN without a password', { type: 'turn', host: 'turn.example', username: 'u' }],
    ['with an empty user', { ...turn, username: '' }],
    ['with blanks in the password', { ...turn, password: 'a b' }],
    ['with an endless password', { ...turn, password: 'x'.repeat(300) }],
    ['without a host', { type: 'stun' }],
    ['with a host that is more than one', { ...turn, host: 'a@b?transport=tcp' }],
    ['at port 0', { ...turn, port: '0' }],
    ['at port 70000', { ...turn, port: '70000' }],
    ['at port -1', { ...turn, port: '-1' }],
    ['that has expired', { ...turn, expires: '2025-12-31T23:59:59Z' }],
    ['that expires never sensibly', { ...turn, expires: 'soon' }],
  ])('%s are left out', async (_, service) => {
    expect(await servers(service)).toEqual([]);
  });

  test('of a server that names hundreds: two of a kind', async () => {
    const many = Array.from({ length: 300 }, (_, i) => ({ ...turn, type: i % 2 ? 'turn' : 'stun', host: `h${i}` }));
    expect(await servers(...many)).toEqual(['stun:h0:3478', 'stun:h2:3478', 'turn:u:p@h1:3478', 'turn:u:p@h3:3478']);
  });
});

describe('the server', () => {
  test('is not asked when the owner has configured some', async () => {
    const { servers, asked } = world([[turn]], ['stun:mine:1']);
    expect(await servers()).toEqual(['stun:mine:1']);
    expect(asked()).toBe(0);
  });

  test('is asked once for many dials, and again well before its credentials expire', async () => {
    const { servers, asked, pass } = world([
      [{ ...turn, expires: '2026-01-01T00:30:00Z' }],
      [{ ...turn, host: 'other.example' }],
    ]);
    await Promise.all([servers(), servers(), servers()]);
    pass(14);
    await servers();
    expect(asked()).toBe(1);
    pass(2);
    expect(await servers()).toEqual(['turn:u:p@other.example:3478']);
    pass(59);
    await servers();
    expect(asked()).toBe(2);
    pass(2);
    await servers();
    expect(asked()).toBe(3);
  });

  test('that does not answer means none, and is asked again after a minute', async () => {
    const { servers, asked, pass } = world([new Error('service-unavailable'), [turn]]);
    expect(await servers()).toEqual([]);
    expect(await servers()).toEqual([]);
    expect(asked()).toBe(1);
    pass(1.1);
    expect(await servers()).toHaveLength(1);
  });
});
