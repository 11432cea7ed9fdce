/** The server's self-signed certificate: friends trust its fingerprint, which travels in the invitation, not a certificate authority. */
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../base/errors.ts';
import { findProgram, runCommand } from '../base/process.ts';

/** Makes `server.key` and `server.crt` in the directory unless they are there; returns the SHA-256 fingerprint, `AB:CD:…`. */
export async function ensureCertificate(directory: string, domain: string, signal?: AbortSignal): Promise<string> {
  const key = join(directory, 'server.key');
  const certificate = join(directory, 'server.crt');
  if (!existsSync(key) || !existsSync(certificate)) {
    const openssl = findProgram('openssl');
    if (!openssl) {
      throw new KithError({
        code: 'xmpp.openssl-missing',
        message: 'cannot make a certificate: openssl not found',
        hint: 'install it with apt install openssl',
      });
    }
    const result = await runCommand(
      openssl,
      // Ten years: what friends pin is this very certificate, so its expiry protects nobody and would end the room.
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '3650'].concat([
        '-keyout',
        key,
        '-out',
        certificate,
        '-subj',
        `/CN=${domain}`,
        '-addext',
        `subjectAltName=DNS:${domain}`,
      ]),
      { timeoutMs: 30_000, ...(signal ? { signal } : {}) },
    );
    signal?.throwIfAborted();
    if (result.exitCode !== 0) {
      throw new KithError({
        code: 'xmpp.openssl',
        message: `openssl could not make a certificate: ${result.stderr.slice(-300)}`,
      });
    }
    await chmod(key, 0o600);
  }
  return new X509Certificate(await readFile(certificate)).fingerprint256;
}
