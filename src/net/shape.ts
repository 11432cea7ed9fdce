/** What a link is made to suffer, in the words of netem and Distem: from text and numbers to a checked shape. Pure. */
import { KithError } from '../base/errors.ts';

/**
 * One direction of one link. Each value is a number or a text with a unit of tc (man tc, "PARAMETERS"; man tc-netem).
 * What is left out is not touched.
 */
export interface ShapeWords {
  /** Bits per second. `10mbit` (10^6 bit/s), `1gbit`, `512kibit` (1024), `125kbps` (bytes!). A number is bits per second. */
  readonly rate?: string | number;
  /** Added to each way. `20ms`, `1.5s`, `300us`. A number is milliseconds; a text needs its unit. At most 60 s. */
  readonly delay?: string | number;
  /** Delay varies by so much up and down, evenly. Batches overtake each other, unless there is a rate. Not more than the delay. */
  readonly jitter?: string | number;
  /** Share of frames that vanish. `1%`; a number is per cent, as tc has it. */
  readonly loss?: string | number;
  /** Share of frames that arrive twice. */
  readonly duplicate?: string | number;
  /** Share of batches that go at once while the others are delayed; needs a delay. */
  readonly reorder?: string | number;
  /** Share of frames in which one bit of the payload is flipped. */
  readonly corrupt?: string | number;
  /** What may wait: frames as a number (1000 if not said), or bytes as a text: `64kb` (1024), `1mb`. */
  readonly limit?: string | number;
}

/** The same with one unit for each: what peers tell each other. Shares are 0 to 1. */
export interface Shape {
  readonly rate?: number;
  readonly delayMs?: number;
  readonly jitterMs?: number;
  readonly loss?: number;
  readonly duplicate?: number;
  readonly reorder?: number;
  readonly corrupt?: number;
  readonly limitFrames?: number;
  readonly limitBytes?: number;
}

type Units = Readonly<Record<string, number>>;

const bits = (prefix: string, factor: number): Units => ({ [`${prefix}bit`]: factor, [`${prefix}bps`]: 8 * factor });
const RATES: Units = {
  ...bits('', 1),
  ...['k', 'm', 'g', 't'].reduce<Units>(
    (all, prefix, i) => ({ ...all, ...bits(prefix, 1000 ** (i + 1)), ...bits(`${prefix}i`, 1024 ** (i + 1)) }),
    {},
  ),
};
const TIMES: Units = { s: 1000, sec: 1000, secs: 1000, ms: 1, msec: 1, msecs: 1, us: 1e-3, usec: 1e-3, usecs: 1e-3 };
const SHARES: Units = { '%': 0.01 };
const SIZES: Units = { b: 1, k: 1024, kb: 1024, m: 2 ** 20, mb: 2 ** 20, g: 2 ** 30, gb: 2 ** 30 };

interface Word {
  readonly units: Units;
  /** What a number without a unit counts; undefined: a text must have one. */
  readonly bare: number | undefined;
  /** What a JavaScript number counts. */
  readonly number: number;
  readonly min: number;
  readonly max: number;
  readonly example: string;
}

/** A frame of a guest takes a whole second at 12 kbit/s: slower is no link. */
const MIN_RATE = 1000;
const MAX_RATE = 1e12;
const MAX_DELAY_MS = 60_000;

const RATE: Word = { units: RATES, bare: 1, number: 1, min: MIN_RATE, max: MAX_RATE, example: '10mbit' };
// tc reads a bare number as microseconds, people mean milliseconds: a text without a unit is refused.
const TIME: Word = { units: TIMES, bare: undefined, number: 1, min: 0, max: MAX_DELAY_MS, example: '20ms' };
const SHARE: Word = { units: SHARES, bare: 0.01, number: 0.01, min: 0, max: 1, example: '1%' };
const SIZE: Word = { units: SIZES, bare: undefined, number: 1, min: 1, max: 2 ** 30, example: '64kb' };
const FRAMES: Word = { units: {}, bare: 1, number: 1, min: 1, max: 1_000_000, example: '1000' };

const WORDS = {
  rate: ['rate', RATE],
  delay: ['delayMs', TIME],
  jitter: ['jitterMs', TIME],
  loss: ['loss', SHARE],
  duplicate: ['duplicate', SHARE],
  reorder: ['reorder', SHARE],
  corrupt: ['corrupt', SHARE],
} as const satisfies Readonly<Record<string, readonly [keyof Shape, Word]>>;

const NAMES = [...Object.keys(WORDS), 'limit'];

/** Throws `shape.invalid` with what was meant to stand there. Nothing in it: no shape at all. */
export function parseShape(words: ShapeWords): Shape | undefined {
  const unknown = Object.keys(words).find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw invalid(`there is no ${unknown}`, `a shape has ${NAMES.join(', ')}`);
  const shape: Record<string, number> = {};
  for (const [name, [key, word]] of Object.entries(WORDS)) {
    const value = words[name as keyof ShapeWords];
    if (value !== undefined) shape[key] = read(name, value, word);
  }
  if (words.limit !== undefined) {
    const inFrames = typeof words.limit === 'number' || /^\d+$/.test(words.limit);
    shape[inFrames ? 'limitFrames' : 'limitBytes'] = read('limit', words.limit, inFrames ? FRAMES : SIZE);
  }
  const { delayMs = 0, jitterMs = 0, reorder = 0 }: Shape = shape;
  if (jitterMs > delayMs) {
    throw invalid('there is more jitter than delay', 'no frame can arrive before it was sent; raise delay');
  }
  if (reorder > 0 && delayMs === 0) {
    throw invalid('reordering is not possible without a delay', 'what is reordered goes at once while the rest waits');
  }
  const said = Object.entries(shape).filter(([, value]) => value > 0);
  return said.length === 0 ? undefined : Object.fromEntries(said);
}

function read(name: string, value: string | number, { units, bare, number, min, max, example }: Word): number {
  const [, digits = '', unit = ''] =
    typeof value === 'number' ? ['', String(value), '='] : (/^(\d+(?:\.\d+)?)([a-z%]*)$/i.exec(value.trim()) ?? []);
  const key = unit.toLowerCase();
  const factor = unit === '=' ? number : unit === '' ? bare : Object.hasOwn(units, key) ? units[key] : undefined;
  const result = digits === '' || factor === undefined ? Number.NaN : Number(digits) * factor;
  if (result >= min && result <= max) return units === FRAMES.units ? Math.floor(result) : result;
  const known = Object.keys(units).join(', ');
  const why = Number.isNaN(result) ? 'is not understood' : `is not within ${min / number} and ${max / number}`;
  throw invalid(
    `${name} ${String(value).slice(0, 40)} ${why}`,
    `say it as in ${name} ${example}${known ? `; units: ${known}` : ''}`,
  );
}

const invalid = (why: string, hint: string) =>
  new KithError({ code: 'shape.invalid', message: `shape is not valid: ${why}`, hint, retry: 'never' });

/** In tc's words again, for people: `rate 10mbit delay 20ms loss 1%`. */
export function shapeText(shape: Shape): string {
  const percent = (share: number) => `${+(share * 100).toPrecision(4)}%`;
  const words: readonly (readonly [string, string | undefined])[] = [
    ['rate', shape.rate === undefined ? undefined : rateText(shape.rate)],
    ['delay', shape.delayMs === undefined ? undefined : `${+shape.delayMs.toPrecision(6)}ms`],
    ['jitter', shape.jitterMs === undefined ? undefined : `${+shape.jitterMs.toPrecision(6)}ms`],
    ...(['loss', 'duplicate', 'reorder', 'corrupt'] as const).map((name) => {
      const share = shape[name];
      return [name, share === undefined ? undefined : percent(share)] as const;
    }),
    ['limit', shape.limitBytes === undefined ? shape.limitFrames?.toString() : `${shape.limitBytes}b`],
  ];
  return words.flatMap(([name, text]) => (text === undefined ? [] : [`${name} ${text}`])).join(' ');
}

function rateText(rate: number): string {
  const units = ['bit', 'kbit', 'mbit', 'gbit'];
  const step = Math.max(0, Math.min(units.length - 1, Math.floor(Math.log10(rate) / 3)));
  return `${+(rate / 1000 ** step).toPrecision(4)}${units[step]}`;
}
