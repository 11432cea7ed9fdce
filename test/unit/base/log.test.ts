/** One line per event, whatever somebody puts into it. */
import { describe, expect, test } from 'vitest';
import { createLog, silentLog, type Facts, type Level, type LogFormat } from '../../../src/base/log.ts';

function record(format: LogFormat, level: Level = 'info') {
  const lines: string[] = [];
  const now = () => new Date(0);
  return { lines, log: createLog({ level, format, now, write: (line) => lines.push(line) }) };
}

const written = (format: LogFormat, facts: Facts) => {
  const { lines, log } = record(format);
  log.info('joined', facts);
  expect(lines).toHaveLength(1);
  return lines[0];
};

test('levels below the floor are not written', () => {
  const { lines, log } = record('text', 'warn');
  log.debug('a');
  log.info('b');
  log.warn('c');
  log.error('d');
  expect(lines).toEqual(['warn c\n', 'error d\n']);
});

test('a child adds its facts to each event, nearer facts win', () => {
  const { lines, log } = record('text');
  log.child({ peer: 'ann', job: 'x' }).child({ job: 'y' }).info('joined', { wire: 'webrtc' });
  expect(lines).toEqual(['  joined peer=ann job=y wire=webrtc\n']);
});

test('the silent log can be called', () => {
  expect(() => silentLog.child({ a: 1 }).error('nobody hears this')).not.toThrow();
});

describe('JSON lines', () => {
  test('have time, level and event first', () => {
    expect(written('json', { peer: 'ann' })).toBe(
      '{"time":"1970-01-01T00:00:00.000Z","level":"info","event":"joined","peer":"ann"}\n',
    );
  });

  test('facts cannot pose as another event', () => {
    expect(written('json', { event: 'left', level: 'error' })).toContain('"level":"info","event":"joined"');
  });

  test.each([
    ['a big integer', 1n, '"value":"1"'],
    ['an error', new Error('gone'), '"value":"gone"'],
    ['nothing', undefined, '"event":"joined"}'],
  ])('say %s', (_, value, text) => {
    expect(written('json', { value })).toContain(text);
  });

  test('a circle is written as unprintable, not thrown at whoever logs', () => {
    const value: Record<string, unknown> = {};
    value['self'] = value;
    expect(written('json', { value })).toContain('unprintable');
  });
});

test('text lines cannot be broken or reach the terminal by what a peer is called', () => {
  expect(written('text', { nick: 'x\nerror server-gone\u001b[2J\u009b1m' })).toBe(
    '  joined nick=x\\u000aerror server-gone\\u001b[2J\\u009b1m\n',
  );
});
