/** Logs are events with fixed fields: a past-tense message, facts beside it, JSON lines on stderr (short text on a terminal). */

export type Level = 'debug' | 'info' | 'warn' | 'error';
export type Facts = Readonly<Record<string, unknown>>;

export interface Log {
  debug(event: string, facts?: Facts): void;
  info(event: string, facts?: Facts): void;
  warn(event: string, facts?: Facts): void;
  error(event: string, facts?: Facts): void;
  /** A logger that adds these facts to each event. Field names: peer, job, guest, link, wire, room, code, reason. */
  child(facts: Facts): Log;
}

export type LogFormat = 'json' | 'text';

const RANK: Record<Level, number> = { debug: 10, info: 20, warn: 30, error: 40 };

export function createLog(options: {
  readonly level: Level;
  readonly format: LogFormat;
  readonly write: (line: string) => void;
  readonly now?: () => Date;
}): Log {
  const { level: floor, format, write, now = () => new Date() } = options;
  const make = (bound: Facts): Log => {
    const at =
      (level: Level) =>
      (event: string, facts: Facts = {}) => {
        if (RANK[level] < RANK[floor]) return;
        const all = { ...bound, ...facts };
        write(format === 'json' ? asJson(now(), level, event, all) : asText(level, event, all));
      };
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (facts) => make({ ...bound, ...facts }),
    };
  };
  return make({});
}

export const silentLog: Log = createLog({ level: 'error', format: 'json', write: () => {} });

function asJson(time: Date, level: Level, event: string, facts: Facts): string {
  const fixed = { time: time.toISOString(), level, event };
  return `${stringify({ ...fixed, ...facts, ...fixed })}\n`;
}

function asText(level: Level, event: string, facts: Facts): string {
  const rest = Object.entries(facts)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : stringify(value)}`);
  return `${printable([level === 'info' ? ' ' : level, event, ...rest].join(' '))}\n`;
}

/** Facts come from anywhere: what JSON cannot say must not throw where somebody only wanted to log. */
function stringify(value: unknown): string {
  try {
    return JSON.stringify(value, (_, part: unknown) => {
      if (part instanceof Error) return part.message;
      return typeof part === 'bigint' ? part.toString() : part;
    });
  } catch (error) {
    return JSON.stringify({ unprintable: String(error) });
  }
}

/** Peers choose nicknames and reasons: no line breaks that fake an event, no escape sequences for our terminal. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (character) => {
    const code = character.charCodeAt(0).toString(16).padStart(4, '0');
    return `\\u${code}`;
  });
}
