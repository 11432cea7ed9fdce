/** One local client of a running peer: each of its requests checked, counted and answered; nothing it does can hurt the peer. */
import type { Socket } from 'node:net';
import { describeError, errorCode, KithError, type Retry } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { parseJson, parser, type Parse } from '../base/validate.ts';
import { encodeLine, lineReader } from './lines.ts';

/** The largest honest request is a long command line. */
const MAX_LINE_BYTES = 64 * 1024;

/** `kith ps` has one, a console two; more only queues memory. */
const MAX_IN_FLIGHT = 16;

/** One answer may be two outputs of 16 MiB in base64 (the cap on a command's output): 45 MB, and the line around them. */
const MAX_BACKLOG_BYTES = 64 * 1024 * 1024;

/** Who has this much to read gets no new request read. */
const PAUSE_BYTES = 1024 * 1024;

interface Request {
  readonly id: number;
  readonly method: string;
  readonly params?: object;
}

const parseRequest = parser<Request>('the request', 'control.bad-request', {
  type: 'object',
  additionalProperties: false,
  required: ['id', 'method'],
  properties: {
    id: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    method: { type: 'string', maxLength: 32 },
    params: { type: 'object' },
  },
});

/** Methods of a running program, and the schema of the parameters of each. */
export interface Methods {
  readonly api: object;
  readonly parse: Readonly<Record<string, Parse<unknown>>>;
}

export interface ConnectionOptions extends Methods {
  readonly log: Log;
  /** A reader that takes nothing for so long while answers wait is dropped. */
  readonly stallMs: number;
  /** False when this many more waiting bytes would be too much for the peer as a whole. */
  readonly mayQueue: (bytes: number) => boolean;
}

export function serveConnection(socket: Socket, options: ConnectionOptions): void {
  const { log, mayQueue, stallMs } = options;
  const gone = new AbortController(); // ends what a client had running when it leaves
  let inFlight = 0;
  let refused = false;

  const send = (message: object): void => {
    if (socket.destroyed || !socket.writable) return;
    const line = encodeLine(message);
    if (socket.writableLength + line.length > MAX_BACKLOG_BYTES || !mayQueue(line.length)) {
      log.warn('control client dropped', { reason: 'it does not read its answers', bytes: socket.writableLength });
      socket.destroy();
      return;
    }
    socket.write(line);
    if (socket.writableLength > PAUSE_BYTES) socket.pause();
  };
  /** Whoever speaks something else gets told so once. */
  const refuse = (error: unknown): void => {
    if (refused) return;
    refused = true;
    send({ id: null, error: errorOf(error) });
    gone.abort();
    socket.destroySoon();
  };
  const answer = async ({ id, method, params }: Request): Promise<void> => {
    try {
      if (inFlight >= MAX_IN_FLIGHT)
        throw new KithError({
          code: 'control.busy',
          message: `${MAX_IN_FLIGHT} requests wait for answers already`,
          retry: 'later',
        });
      inFlight++;
      try {
        send({ id, result: await call(options, method, params ?? {}, gone.signal) });
      } finally {
        inFlight--;
      }
    } catch (error) {
      if (!(error instanceof KithError))
        log.debug('control request failed', { method, code: errorCode(error), reason: String(error) });
      send({ id, error: errorOf(error) });
    }
  };
  const read = lineReader(MAX_LINE_BYTES, (line) => {
    if (refused) return;
    let request: Request;
    try {
      request = parseRequest(parseJson('the request', 'control.bad-request', line, MAX_LINE_BYTES));
    } catch (error) {
      refuse(error);
      return;
    }
    void answer(request);
  });

  socket.on('data', (chunk: Buffer) => {
    if (refused || read(chunk)) return;
    refuse(
      new KithError({
        code: 'control.long-line',
        message: `a request has at most ${MAX_LINE_BYTES} bytes`,
        retry: 'never',
      }),
    );
  });
  socket.on('drain', () => socket.resume());
  socket.setTimeout(stallMs, () => {
    if (socket.writableLength === 0) return;
    log.warn('control client dropped', { reason: 'it stopped reading', bytes: socket.writableLength });
    socket.destroy();
  });
  socket.once('close', () => gone.abort());
}

async function call({ api, parse }: Methods, method: string, params: object, signal: AbortSignal): Promise<object> {
  if (!Object.hasOwn(parse, method)) {
    throw new KithError({
      code: 'control.no-method',
      message: `there is no method ${method}`,
      hint: `one of ${Object.keys(parse).join(', ')}`,
      retry: 'never',
    });
  }
  const checked = parse[method]?.(params);
  // The schema of each method is that of its parameters; TypeScript cannot follow the pair through the union.
  const work = (api as Record<string, unknown>)[method] as (
    params: unknown,
    options: { readonly signal: AbortSignal },
  ) => Promise<object>;
  return Reflect.apply(work, api, [checked, { signal }]);
}

/** What a client gets to see of an error: never a stack. */
function errorOf(error: unknown): {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly retry?: Retry;
} {
  if (!(error instanceof KithError)) return { code: errorCode(error), message: describeError(error) };
  const { code, message, hint, retry } = error;
  return { code, message, retry, ...(hint ? { hint } : {}) };
}
