/** The guest agent's client against agents that are honest, confused and hostile. */
import { duplexPair, type Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { openAgent } from '../../../src/guest/agent.ts';
import { openAgentChannel } from '../../../src/guest/agent-channel.ts';

interface Question {
  readonly execute: string;
  readonly id?: number;
  readonly arguments?: Record<string, unknown>;
}

/** Like qemu-ga; `behave` may answer instead, with any text. */
function fakeAgent(
  stream: Duplex,
  behave: (question: Question) => string | Buffer | undefined = () => undefined,
): Question[] {
  const asked: Question[] = [];
  let text = '';
  stream.on('error', () => {});
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1').replaceAll('\xff', '');
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const question = JSON.parse(text.slice(0, end)) as Question;
      text = text.slice(end + 1);
      asked.push(question);
      const answer = behave(question);
      if (answer !== undefined) stream.write(answer);
      else if (question.execute === 'guest-sync-delimited') stream.write(sync(question));
      else stream.write(reply(question, {}));
    }
  });
  return asked;
}

const reply = (question: Question, value: unknown): string => `${JSON.stringify({ return: value, id: question.id })}\n`;
const sync = (question: Question): Buffer =>
  Buffer.concat([Buffer.from([0xff]), Buffer.from(`${JSON.stringify({ return: question.arguments?.['id'] })}\n`)]);

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** A program that has ended by the second look. */
const program = (end: Record<string, unknown>) => {
  let looks = 0;
  return (question: Question): string | undefined => {
    if (question.execute === 'guest-exec') return reply(question, { pid: 7 });
    if (question.execute !== 'guest-exec-status') return undefined;
    return reply(question, ++looks < 2 ? { exited: false } : { exited: true, ...end });
  };
};

describe('the agent client', () => {
  it('waits for the first answer, whatever noise comes before it', async () => {
    const [ours, theirs] = duplexPair();
    fakeAgent(theirs, (question) =>
      question.execute === 'guest-sync-delimited'
        ? Buffer.concat([Buffer.from('{"half":\nnoise{{{\n'), Buffer.from('junk'), sync(question)])
        : undefined,
    );
    const agent = openAgent(ours);
    await agent.ready();
    expect(await agent.ping()).toBeUndefined();
  });

  it('runs a program and gives back its end', async () => {
    const [ours, theirs] = duplexPair();
    const asked = fakeAgent(
      theirs,
      program({ exitcode: 3, 'out-data': base64('out'), 'err-data': base64('err'), 'out-truncated': true }),
    );
    const result = await openAgent(ours).exec(['ls', '-l'], { timeoutMs: 5000, stdin: Buffer.from('in') });
    expect(result).toEqual({
      exitCode: 3,
      signal: undefined,
      stdout: Buffer.from('out'),
      stderr: Buffer.from('err'),
      truncated: true,
    });
    expect(asked.find(({ execute }) => execute === 'guest-exec')?.arguments).toEqual({
      path: 'setsid',
      arg: ['ls', '-l'],
      'capture-output': true,
      'input-data': base64('in'),
    });
  });

  it('turns a signal into a shell exit code', async () => {
    const [ours, theirs] = duplexPair();
    fakeAgent(theirs, program({ signal: 15 }));
    expect(await openAgent(ours).exec(['x'], { timeoutMs: 5000 })).toMatchObject({ exitCode: 143, signal: 15 });
  });

  it('kills a program whose time is up', async () => {
    const [ours, theirs] = duplexPair();
    let killed = false;
    const asked = fakeAgent(theirs, (question) => {
      if (question.execute === 'guest-exec') {
        killed ||= question.arguments?.['path'] === 'sh';
        return reply(question, { pid: 7 });
      }
      return question.execute === 'guest-exec-status' ? reply(question, { exited: killed, signal: 9 }) : undefined;
    });
    expect(await openAgent(ours).exec(['sleep', '9'], { timeoutMs: 60 }).catch(errorCode)).toBe('guest.exec-timeout');
    expect(asked.findLast(({ execute }) => execute === 'guest-exec')?.arguments?.['arg']).toEqual([
      '-c',
      'kill -9 -7 || kill -9 7',
    ]);
  });

  it('kills what was started for a caller that has gone', async () => {
    const [ours, theirs] = duplexPair();
    const controller = new AbortController();
    const killed = Promise.withResolvers<void>();
    fakeAgent(theirs, (question) => {
      if (question.execute === 'guest-exec' && question.arguments?.['path'] === 'sh') killed.resolve();
      else if (question.execute === 'guest-exec') controller.abort(new Error('enough'));
      return question.execute.startsWith('guest-exec') ? reply(question, { pid: 7, exited: false }) : undefined;
    });
    await expect(openAgent(ours).exec(['x'], { timeoutMs: 5000, signal: controller.signal })).rejects.toThrow('enough');
    await killed.promise;
    ours.destroy();
  });

  it.each([
    ['no pid', '{"return":{}}\n'],
    ['a pid that is text', '{"return":{"pid":"7; reboot"}}\n'],
    ['a huge pid', '{"return":{"pid":1e300}}\n'],
    ['nothing', '{"return":null}\n'],
  ])('refuses %s', async (_, answer) => {
    const [ours, theirs] = duplexPair();
    fakeAgent(theirs, ({ execute }) => (execute === 'guest-exec' ? answer : undefined));
    expect(await openAgent(ours).exec(['x'], { timeoutMs: 5000 }).catch(errorCode)).toBe('guest.agent-garbled');
  });

  it('hands on what the agent refuses', async () => {
    const [ours, theirs] = duplexPair();
    fakeAgent(theirs, ({ execute, id }) =>
      execute === 'guest-ping' ? `{"error":{"class":"CommandNotFound","desc":"no"},"id":${id}}\n` : undefined,
    );
    await expect(openAgent(ours).ping()).rejects.toMatchObject({
      code: 'guest.agent-refused',
      message: 'the guest agent refused guest-ping: no',
    });
  });

  it('does not take the answer to an old question for a new one, wherever it turns up', async () => {
    const [ours, theirs] = duplexPair();
    let late = '';
    const asked = fakeAgent(theirs, (question) => {
      if (question.execute === 'first') {
        late = reply(question, 'old');
        return '';
      }
      if (question.execute === 'guest-sync-delimited' && late)
        return Buffer.concat([Buffer.from(late), sync(question)]);
      return question.execute === 'second' ? late + reply(question, 'new') : undefined;
    });
    const channel = openAgentChannel(ours);
    expect(await channel.call('first', undefined, { timeoutMs: 30 }).catch(errorCode)).toBe('guest.agent-timeout');
    expect(await channel.call('second', undefined, { timeoutMs: 5000 })).toBe('new');
    await channel.call('third', undefined, { timeoutMs: 5000 });
    const order = ['guest-sync-delimited', 'first', 'guest-sync-delimited', 'second', 'third'];
    expect(asked.map(({ execute }) => execute)).toEqual(order);
  });

  it('lets a flood stop at the door, and answers afterwards', async () => {
    const [ours, theirs] = duplexPair();
    const asked = fakeAgent(theirs);
    const channel = openAgentChannel(ours);
    await channel.sync();
    // Nothing is asked: what the guest writes now is not read, however long one waits.
    for (let turn = 0; turn < 50; turn++) {
      if (!theirs.writableNeedDrain) theirs.write('x'.repeat(10_000));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(theirs.writableNeedDrain).toBe(true);
    theirs.write('\n');
    expect(await channel.call('guest-ping', undefined, { timeoutMs: 5000 })).toEqual({});
    expect(asked.at(-1)?.execute).toBe('guest-ping');
  });

  it('bounds an answer that never ends', async () => {
    const [ours, theirs] = duplexPair();
    const megabyte = Buffer.alloc(1 << 20, 'x');
    fakeAgent(theirs, ({ execute }) => {
      if (execute !== 'endless') return undefined;
      for (let count = 0; count < 45; count++) theirs.write(megabyte);
      return '';
    });
    expect(await openAgentChannel(ours).call('endless', undefined, { timeoutMs: 20_000 }).catch(errorCode)).toBe(
      'guest.agent-garbled',
    );
  });

  it('fails every question when the guest goes, and all later ones', async () => {
    const [ours, theirs] = duplexPair();
    fakeAgent(theirs, ({ execute }) => (execute === 'guest-ping' ? '' : undefined));
    const agent = openAgent(ours);
    await agent.ready();
    const waiting = [agent.ping(), agent.ping()].map((work) => work.catch(errorCode));
    await new Promise((resolve) => setImmediate(resolve));
    theirs.destroy();
    expect(await Promise.all(waiting)).toEqual(['guest.agent-closed', 'guest.agent-closed']);
    expect(await agent.exec(['x'], { timeoutMs: 1000 }).catch(errorCode)).toBe('guest.agent-closed');
  });
});
