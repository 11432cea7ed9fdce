/** The QMP client against a QEMU that is slow, rude, or not a QEMU. */
import { duplexPair, type Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { openQmp, type QmpEvent } from '../../../src/guest/qmp.ts';

const GREETING = '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}\r\n';

interface Question {
  readonly execute: string;
  readonly id: number;
  readonly arguments?: unknown;
}

/** Answers like QEMU; `behave` may take over for a command by returning the text to send. */
function fakeQemu(stream: Duplex, behave: (question: Question) => string | undefined = () => undefined): Question[] {
  const asked: Question[] = [];
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const question = JSON.parse(text.slice(0, end)) as Question;
      text = text.slice(end + 1);
      asked.push(question);
      stream.write(behave(question) ?? `{"return": {}, "id": ${question.id}}\r\n`);
    }
  });
  stream.on('error', () => {});
  stream.write(GREETING);
  return asked;
}

describe('the QMP client', () => {
  it('leaves negotiation mode and runs commands', async () => {
    const [ours, theirs] = duplexPair();
    const asked = fakeQemu(theirs, ({ execute, id }) =>
      execute === 'query-status' ? `{"return":{"status":"running"},"id":${id}}\n` : undefined,
    );
    const qmp = await openQmp(ours);
    expect(await qmp.execute('query-status', { detail: 1 })).toEqual({ status: 'running' });
    expect(asked.map(({ execute }) => execute)).toEqual(['qmp_capabilities', 'query-status']);
    expect(asked[1]?.arguments).toEqual({ detail: 1 });
  });

  it('keeps answers apart when they come in another order, split anywhere', async () => {
    const [ours, theirs] = duplexPair();
    let first: Question | undefined;
    fakeQemu(theirs, (question) => {
      if (question.execute === 'qmp_capabilities') return undefined;
      if (!first) {
        first = question;
        return '';
      }
      const text = `{"return":"late","id":${question.id}}\n{"return":"early","id":${first.id}}\n`;
      for (const character of text.slice(0, -1)) theirs.write(character);
      return '\n';
    });
    const qmp = await openQmp(ours);
    expect(await Promise.all([qmp.execute('a'), qmp.execute('b')])).toEqual(['early', 'late']);
  });

  it('tells events, and errors of QEMU with their reason', async () => {
    const [ours, theirs] = duplexPair();
    const events: QmpEvent[] = [];
    fakeQemu(theirs, ({ execute, id }) =>
      execute === 'quit'
        ? `{"event":"SHUTDOWN","data":{"guest":false},"timestamp":{}}\n{"error":{"class":"GenericError","desc":"not now"},"id":${id}}\n`
        : undefined,
    );
    const qmp = await openQmp(ours, { onEvent: (event) => events.push(event) });
    await expect(qmp.execute('quit')).rejects.toMatchObject({
      code: 'guest.qmp-refused',
      message: 'QEMU refused quit: not now',
    });
    expect(events).toEqual([{ event: 'SHUTDOWN', data: { guest: false } }]);
  });

  it('does not tire', async () => {
    const [ours, theirs] = duplexPair();
    fakeQemu(theirs);
    const qmp = await openQmp(ours);
    for (let count = 0; count < 200; count++) expect(await qmp.execute('query-status')).toEqual({});
  });

  it('gives up on a command at its deadline, and ignores the answer that comes later', async () => {
    const [ours, theirs] = duplexPair();
    let late = '';
    fakeQemu(theirs, ({ execute, id }) => {
      if (execute === 'slow') {
        late = `{"return":"late","id":${id}}\n`;
        return '';
      }
      return execute === 'next' ? `${late}{"return":"right","id":${id}}\n` : undefined;
    });
    const qmp = await openQmp(ours);
    expect(await qmp.execute('slow', undefined, { timeoutMs: 20 }).catch(errorCode)).toBe('guest.qmp-timeout');
    expect(await qmp.execute('next')).toBe('right');
  });

  it.each([
    ['text', 'hello\n'],
    ['half a JSON', '{"return":\n'],
    ['an array', '[]\n'],
    ['an error without a reason', '{"error":7,"id":2}\n'],
  ])('closes on %s', async (_, garbage) => {
    const [ours, theirs] = duplexPair();
    fakeQemu(theirs, ({ execute }) => (execute === 'x' ? garbage : undefined));
    const qmp = await openQmp(ours);
    expect(await qmp.execute('x').catch(errorCode)).toBe('guest.qmp-closed');
    expect(await qmp.closed).toContain('not QMP');
    expect(await qmp.execute('y').catch(errorCode)).toBe('guest.qmp-closed');
  });

  it('closes on a line without end before it costs memory', async () => {
    const [ours, theirs] = duplexPair();
    fakeQemu(theirs, ({ execute }) => (execute === 'x' ? ' '.repeat(1_100_000) : undefined));
    const qmp = await openQmp(ours);
    expect(await qmp.execute('x').catch(errorCode)).toBe('guest.qmp-closed');
    expect(ours.destroyed).toBe(true);
  });

  it('refuses a QEMU that says nothing', async () => {
    const [ours] = duplexPair();
    expect(await openQmp(ours, { greetingTimeoutMs: 20 }).catch(errorCode)).toBe('guest.qmp-timeout');
    expect(ours.destroyed).toBe(true);
  });

  it('ends every command when the connection ends', async () => {
    const [ours, theirs] = duplexPair();
    fakeQemu(theirs, ({ execute }) => (execute === 'qmp_capabilities' ? undefined : ''));
    const qmp = await openQmp(ours);
    const waiting = [qmp.execute('a'), qmp.execute('b')].map((work) => work.catch(errorCode));
    theirs.destroy();
    expect(await Promise.all(waiting)).toEqual(['guest.qmp-closed', 'guest.qmp-closed']);
  });
});
