/** Prosody's configuration: no door but the one, and no text that breaks out of its quotes. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { lua, prosodyConfig } from '../../../src/xmpp/server-config.ts';

const config = prosodyConfig({
  directory: '/run/"x"',
  plugins: '/plugins',
  listen: '127.0.0.1',
  port: 5999,
  domain: 'kith.internal',
  mucService: 'rooms.kith.internal',
  admin: 'kith-host@kith.internal',
  runAsRoot: false,
  bytesPerSecond: 'stock',
  storage: 'internal',
  hibernationSeconds: 60,
  modules: [],
  settings: {},
});

test('only direct TLS on the given address, invitations needed, SCRAM only', () => {
  for (const line of [
    'c2s_ports = {}',
    's2s_ports = {}',
    'http_ports = {}',
    'c2s_direct_tls_ports = { 5999 }',
    'c2s_direct_tls_interfaces = { "127.0.0.1" }',
    'c2s_require_encryption = true',
    'network_settings = { nagle = false; read_timeout = 60 }',
    'disable_sasl_mechanisms = { "PLAIN" }',
    'limits = { c2s = { rate = "10kb/s" } }',
    'data_path = "/run/\\034x\\034/data"',
  ]) {
    expect(config.split('\n')).toContain(line);
  }
  expect(config).not.toContain('run_as_root');
});

test('a Lua string is printable ASCII between two quotes, whatever is in it', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const literal = lua(text);
      expect(literal).toMatch(/^"([\x20\x21\x23-\x5b\x5d-\x7e]|\\\d{3})*"$/);
      const bytes = literal
        .slice(1, -1)
        .replace(/\\(\d{3})/g, (_all, code: string) => String.fromCharCode(Number(code)));
      expect(Buffer.from(bytes, 'latin1').toString('utf8')).toBe(Buffer.from(text).toString('utf8'));
    }),
  );
});
