/** A malicious server: a real Prosody behind a relay that reads every stanza and may drop, change, hold, repeat and forge them. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { EventEmitter } from 'node:events';
import { client as library, xml } from '@xmpp/client';
import { newId } from '../../src/base/ids.ts';
import { SM_NS, type Element } from '../../src/xmpp/xml.ts';
import type { TestServer } from './prosody.ts';

/*
 *   client  <== TLS, the server's own certificate ==>  relay  <== TLS ==>  Prosody
 *
 * The relay owns its certificate, so pins hold and the login is the real one. Stream management (XEP-0198) is played to both sides
 * apart, so that what is forged or dropped leaves no gap in anybody's numbers; a lost session is always begun anew.
 */

export interface Traffic {
  /** Full JID of the client on this line; empty before it has one. */
  readonly client: string;
  readonly direction: 'toServer' | 'toClient';
  readonly stanza: Element;
}

/** What becomes of a stanza; `undefined` lets it pass. */
export type Script = (traffic: Traffic) => void | 'drop' | readonly Element[];

export interface EvilServer extends AsyncDisposable {
  readonly port: number;
  /** Everything that clients and Prosody said so far, before any script. */
  readonly record: readonly Traffic[];
  /** Tokens that clients showed to make accounts (XEP-0445). */
  readonly tokens: readonly string[];
  /** Empties the record. */
  forget(): void;
  /** Scripts are asked in order; the first that does not let it pass decides. The returned function ends it. */
  run(script: Script): () => void;
  /** Hands a stanza to a client as if it had come from the net. False: that client is not here. */
  inject(client: string, stanza: Element): boolean;
  /** The same for a question: what the client answers comes back here and goes nowhere else. */
  ask(client: string, question: Element): Promise<Element>;
  /** The first stanza from now on that fits. */
  next(fits: (traffic: Traffic) => boolean): Promise<Traffic>;
  /** The same, and it does not reach its receiver. */
  take(fits: (traffic: Traffic) => boolean): Promise<Traffic>;
}

interface Line {
  jid: string;
  readonly toClient: (text: string) => void;
  readonly toServer: (text: string) => void;
  readonly end: () => void;
}

const STANZAS = ['iq', 'message', 'presence'];

/** The library's own parser, that of its TLS transport: what it makes of a text is what our clients make of it. */
type Parser = EventEmitter & { write(text: string): void };
const { transports } = library({ service: 'xmpps://127.0.0.1' }) as unknown as {
  transports: { prototype: { Parser: new () => Parser } }[];
};
const ParserClass = transports.at(-1)!.prototype.Parser;

export async function startEvilServer(prosody: TestServer): Promise<EvilServer> {
  const file = (name: string) => readFile(join(prosody.directory, name));
  const [key, cert] = await Promise.all([file('server.key'), file('server.crt')]);
  const lines = new Set<Line>();
  const record: Traffic[] = [];
  const tokens: string[] = [];
  const scripts = new Set<Script>();

  const decide = (traffic: Traffic): readonly Element[] => {
    record.push({ ...traffic, stanza: copyOf(traffic.stanza) });
    for (const script of scripts) {
      const verdict = script(traffic);
      if (verdict === 'drop') return [];
      if (verdict) return verdict;
    }
    return [traffic.stanza];
  };

  const server = createServer({ key, cert, ALPNProtocols: ['xmpp-client'] }, (client) => {
    const upstream = connect({ host: '127.0.0.1', port: prosody.server.port, rejectUnauthorized: false });
    const line = relay(client, upstream, decide, tokens);
    lines.add(line);
    client.on('close', () => lines.delete(line));
  });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');

  const run: EvilServer['run'] = (script) => {
    scripts.add(script);
    return () => scripts.delete(script);
  };
  const lineOf = (client: string) => [...lines].find(({ jid }) => jid === client);
  const inject: EvilServer['inject'] = (client, stanza) => {
    const line = lineOf(client);
    line?.toClient(stanza.toString());
    return line !== undefined;
  };
  const first = (fits: (traffic: Traffic) => boolean, verdict: 'drop' | undefined) =>
    new Promise<Traffic>((resolve) => {
      const stop = run((traffic) => {
        if (!fits(traffic)) return undefined;
        stop();
        resolve({ ...traffic, stanza: copyOf(traffic.stanza) });
        return verdict;
      });
    });
  return {
    port: address.port,
    record,
    tokens,
    forget: () => void record.splice(0),
    run,
    inject,
    ask(client, question) {
      const stanza = copyOf(question);
      stanza.attrs['id'] ??= newId();
      return new Promise((resolve, reject) => {
        const stop = run((traffic) => {
          const { id, type } = traffic.stanza.attrs as Partial<Record<string, string>>;
          if (traffic.client !== client || traffic.direction !== 'toServer') return undefined;
          if (id !== stanza.attrs['id'] || (type !== 'result' && type !== 'error')) return undefined;
          stop();
          resolve(copyOf(traffic.stanza));
          return 'drop';
        });
        if (!inject(client, stanza)) {
          stop();
          reject(new Error(`${client} is not here`));
        }
      });
    },
    next: (fits) => first(fits, undefined),
    take: (fits) => first(fits, 'drop'),
    async [Symbol.asyncDispose]() {
      for (const line of lines) line.end();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const copyOf = (element: Element): Element =>
  xml(
    element.name,
    { ...element.attrs },
    ...element.children.map((child) => (typeof child === 'string' ? child : copyOf(child))),
  );

function relay(
  client: TLSSocket,
  upstream: TLSSocket,
  decide: (traffic: Traffic) => readonly Element[],
  tokens: string[],
): Line {
  const line: Line = {
    jid: '',
    toClient: (text) => void client.write(text),
    toServer: (text) => void upstream.write(text),
    end: () => {
      client.destroy();
      upstream.destroy();
    },
  };
  /** Stanzas of either side since stream management began, which is what each of them wants confirmed. */
  let counted: { ofClient: number; ofServer: number } | undefined;
  const element = (from: 'client' | 'server', found: Element) => {
    const [forth, back] = from === 'client' ? [line.toServer, line.toClient] : [line.toClient, line.toServer];
    if (found.getNS() === SM_NS && found.name === 'a') return;
    if (found.getNS() === SM_NS && found.name === 'r') {
      const h = (from === 'client' ? counted?.ofClient : counted?.ofServer) ?? 0;
      return back(xml('a', { xmlns: SM_NS, h: String(h) }).toString());
    }
    if (found.getNS() === SM_NS && found.name === 'resume') return back(`<failed xmlns='${SM_NS}'/>`);
    if (found.getNS() === SM_NS && found.name === 'enabled') counted = { ofClient: 0, ofServer: 0 };
    if (found.name === 'success') begin(); // both sides begin their streams anew
    const token = found.getChild('preauth')?.attrs['token'] as string | undefined;
    if (token !== undefined) tokens.push(token);
    const jid = found.getChild('bind')?.getChildText('jid');
    if (jid && from === 'server') line.jid = jid;
    if (!counted || !STANZAS.includes(found.name)) return forth(found.toString());
    counted[from === 'client' ? 'ofClient' : 'ofServer']++;
    const direction = from === 'client' ? 'toServer' : 'toClient';
    for (const stanza of decide({ client: line.jid, direction, stanza: found })) forth(stanza.toString());
  };

  let parsers: Record<'client' | 'server', Parser>;
  const begin = () => {
    parsers = { client: parserFor('client'), server: parserFor('server') };
  };
  const parserFor = (from: 'client' | 'server') => {
    const forth = from === 'client' ? line.toServer : line.toClient;
    const parser = new ParserClass();
    parser.on('start', (root: Element) => forth(`<?xml version='1.0'?>${root.toString().replace(/\/>$/, '>')}`));
    parser.on('element', (found: Element) => element(from, found));
    parser.on('end', () => forth('</stream:stream>'));
    parser.on('error', () => line.end());
    return parser;
  };
  begin();
  const listen = (from: 'client' | 'server', socket: TLSSocket, other: TLSSocket) => {
    socket.setNoDelay(true);
    socket.on('data', (data: Buffer) => parsers[from].write(data.toString('utf8')));
    socket.on('error', () => other.destroy());
    socket.on('close', () => other.destroy());
  };
  listen('client', client, upstream);
  listen('server', upstream, client);
  return line;
}
