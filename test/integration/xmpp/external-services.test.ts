/** A real Prosody with a TURN secret hands out servers and fresh credentials; one without knows nothing of them. */
import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { parseIceServer } from '../../../src/wire/stun.ts';
import { externalIceServers } from '../../../src/xmpp/external-services.ts';
import { startTestServer } from '../../harness/prosody.ts';

const ask = { configured: [], now: Date.now, log: silentLog };

test('STUN, and TURN with credentials made from the secret', async () => {
  await using prosody = await startTestServer({
    modules: ['turn_external'],
    settings: { turn_external_host: 'turn.example.org', turn_external_secret: 'between server and TURN' },
  });
  await using session = await prosody.open('anna');
  const [stun, turn, ...more] = await externalIceServers({ session, ...ask })();
  expect(stun).toBe('stun:turn.example.org:3478');
  const { kind, host, port, transport, username = '', password } = parseIceServer(turn!)!;
  expect({ kind, host, port, transport }).toEqual({
    kind: 'turn',
    host: 'turn.example.org',
    port: 3478,
    transport: 'udp',
  });
  // The "TURN REST API" scheme: the user's name is the time of expiry, the password its HMAC.
  expect(Number(username.split(':')[0])).toBeGreaterThan(Date.now() / 1000 + 80_000);
  expect(password).toBe(createHmac('sha1', 'between server and TURN').update(username).digest('base64'));
  expect(more).toEqual([]);
});

test('none where the server has none', async () => {
  await using prosody = await startTestServer();
  await using session = await prosody.open('anna');
  expect(await externalIceServers({ session, ...ask })()).toEqual([]);
});
