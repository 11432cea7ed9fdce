/** Everything on its way to the server: queued, paced, sent but unconfirmed. Survives the streams that carry it. */
import type { Clock } from '../base/clock.ts';
import { newId } from '../base/ids.ts';
import { Ledger } from './ledger.ts';
import { createPace } from './pace.ts';
import { Pacer, type Priority } from './pacer.ts';
import type { Stream } from './stream.ts';
import { SM_NS, xml, type Element } from './xml.ts';

interface Outgoing {
  readonly stanza: Element;
  readonly text: string;
  readonly priority: Priority;
}

/** Both Debian servers close the stream at 262,144 bytes; nothing of ours comes near. */
const MAX_STANZA_BYTES = 200_000;
/** Ask for a receipt after this many stanzas, or at the next tick. The library asks never under load (250 ms debounce, measured). */
const ACK_EVERY = 25;
const TICK_MS = 1000;
/** Ask an idle server this often whether it lives. */
const IDLE_MS = 15_000;
/** A server that says nothing this long after a question is mute. */
const MUTE_MS = 30_000;
/** Bytes that may be unconfirmed: what a throttling server has in its buffers is latency of the next control stanza. */
const WINDOW_SECONDS = 1;
const MIN_WINDOW_BYTES = 16_000;
/** Control may go this far beyond the window. */
const CONTROL_WINDOW_BYTES = 48_000;
/** A stanza that took three sessions with it may be the reason: give it up. */
const MAX_TRIES = 3;

export function createOutbox(options: {
  readonly bytesPerSecond: number;
  readonly maxBytesPerSecond?: number | undefined;
  readonly clock: Clock;
  /** Called when the server did not answer a question. */
  readonly onMute: () => void;
  /** Called when the server confirms what was never sent. */
  readonly onNonsense: () => void;
}) {
  const { clock, bytesPerSecond, maxBytesPerSecond = bytesPerSecond } = options;
  const pace = createPace({ bytesPerSecond, maxBytesPerSecond });
  const ledger = new Ledger<Outgoing>();
  const pacer = new Pacer<Outgoing>({ bytesPerSecond, now: () => clock.now() });
  let window = Math.max(MIN_WINDOW_BYTES, bytesPerSecond * WINDOW_SECONDS);
  /** The pace has held something back since the last receipt. */
  let hungry = false;
  /** In how many sessions a stanza was sent without a receipt. */
  const tries = new WeakMap<Element, number>();
  const pullers = new Set<() => boolean>();
  let stream: Stream | undefined;
  let stopTimer: (() => void) | undefined;
  let stopTick = () => {};
  let sinceAsk = { stanzas: 0, bytes: 0 };
  let askedAt: number | undefined;
  let heardAt = 0;
  let heardBytes = 0;
  let lostFrames = 0;
  let pumping = false;
  let drained: (() => void)[] = [];

  const roomFor = () => {
    const inFlight = ledger.unconfirmedBytes + (stream?.backlog ?? 0);
    return { control: inFlight < window + CONTROL_WINDOW_BYTES, frames: inFlight < window };
  };

  function transmit(outgoing: Outgoing, live: Stream): void {
    live.write(outgoing.text);
    ledger.sent(outgoing, outgoing.text.length);
    sinceAsk.stanzas++;
    sinceAsk.bytes += outgoing.text.length;
    askIfDue(live);
  }

  function askIfDue(live: Stream): void {
    if (askedAt === undefined && (sinceAsk.stanzas >= ACK_EVERY || sinceAsk.bytes > window / 2)) ask(live);
  }

  function ask(live: Stream): void {
    askedAt = clock.now();
    sinceAsk = { stanzas: 0, bytes: 0 };
    live.write(`<r xmlns="${SM_NS}"/>`);
  }

  function adapt(asked: number, bytes: number): void {
    const before = pace.bytesPerSecond;
    pace.receipt({ askedAt: asked, now: clock.now(), bytes, hungry });
    hungry = false;
    if (pace.bytesPerSecond === before) return;
    pacer.setRate(pace.bytesPerSecond);
    window = Math.max(MIN_WINDOW_BYTES, pace.bytesPerSecond * WINDOW_SECONDS);
  }

  /** Sends what may go, lets the pullers fill the gap behind it, and comes back when tokens are there again. */
  function pump(): void {
    if (pumping || !stream) return;
    pumping = true;
    hush();
    try {
      do {
        for (let next = pacer.take(roomFor()); next; next = pacer.take(roomFor())) transmit(next.item, stream);
      } while (isReady() && pull());
    } finally {
      pumping = false;
    }
    if (pacer.controlQueued === 0) for (const done of drained.splice(0)) done();
    const wait = pacer.waitMs();
    const waiting = pacer.controlQueued + pacer.framesQueued + pullers.size > 0;
    if (wait <= 0 || !waiting) return;
    hungry ||= pacer.controlQueued + pacer.framesQueued > 0 || sinceAsk.bytes > 0;
    stopTimer = clock.after(Math.ceil(wait), pump);
  }

  function pull(): boolean {
    for (const puller of pullers) if (puller()) return true;
    return false;
  }

  function hush(): void {
    stopTimer?.();
    stopTimer = undefined;
  }

  // While the pump waits for tokens, nobody gets past those who wait with it.
  const isReady = () => stream !== undefined && !stopTimer && pacer.framesReady && roomFor().frames;

  function tick(): void {
    if (!stream) return;
    const now = clock.now();
    if (stream.receivedBytes !== heardBytes) {
      heardBytes = stream.receivedBytes;
      heardAt = now;
    }
    if (askedAt !== undefined) {
      // Silence after a question, or no receipt although it talks.
      if (now - Math.max(askedAt, heardAt) >= MUTE_MS || now - askedAt >= 2 * MUTE_MS) options.onMute();
    } else if (sinceAsk.stanzas > 0 || now - heardAt >= IDLE_MS) ask(stream);
  }

  return {
    push(stanza: Element, priority: Priority): boolean {
      // Frames are worthless later; without a stream they are lost, and that is counted.
      if (priority === 'frames' && !stream) {
        lostFrames++;
        return false;
      }
      if (priority === 'control') stanza.attrs['id'] ??= newId();
      const text = stanza.toString();
      if (text.length > MAX_STANZA_BYTES) return false;
      const queued = pacer.push({ stanza, text, priority }, text.length, priority);
      pump();
      return queued;
    },
    /** The stream is negotiated and counts from zero (fresh) or goes on (resumed). */
    attach(live: Stream): void {
      stream = live;
      askedAt = undefined;
      heardAt = clock.now();
      heardBytes = live.receivedBytes;
      sinceAsk = { stanzas: ledger.unconfirmed, bytes: ledger.unconfirmedBytes };
      stopTick();
      stopTick = clock.every(TICK_MS, tick);
      pump();
    },
    detach(): void {
      stream = undefined;
      hush();
      stopTick();
      lostFrames += pacer.clearFrames();
    },
    /** The server resumed the session and had handled `h`. Sends the rest again. False: the numbers cannot be. */
    resume(live: Stream, h: string | undefined): boolean {
      if (!ledger.confirm(h)) return false;
      for (const outgoing of ledger.pending()) {
        live.write(outgoing.text);
        pacer.charge(outgoing.text.length);
      }
      return true;
    },
    /** A fresh session begins: hands out what was not confirmed and what was still queued, in order. Frames are given up. */
    restart(h?: string): Element[] {
      if (h !== undefined) ledger.confirm(h);
      const unknown = ledger.reset().filter(({ stanza, priority }) => {
        if (priority === 'frames') lostFrames++;
        const count = (tries.get(stanza) ?? 0) + 1;
        tries.set(stanza, count);
        return priority === 'control' && count < MAX_TRIES;
      });
      return [...unknown, ...pacer.drainControl()].map((outgoing) => outgoing.stanza);
    },
    get inbound() {
      return ledger.inbound;
    },
    received(): void {
      ledger.received();
    },
    /** `<r/>` and `<a/>` */
    nonza(element: Element, live: Stream): void {
      if (element.is('r', SM_NS)) live.write(`<a xmlns="${SM_NS}" h="${ledger.inbound}"/>`);
      else if (element.is('a', SM_NS)) {
        const asked = askedAt;
        const before = ledger.unconfirmedBytes;
        askedAt = undefined;
        if (!ledger.confirm(element.attrs['h'] as string | undefined)) return options.onNonsense();
        if (asked !== undefined) adapt(asked, before - ledger.unconfirmedBytes);
        askIfDue(live);
        pump();
      }
    },
    get framesReady() {
      return isReady();
    },
    /** The puller is asked for one frame stanza whenever one may go; true: it pushed one. */
    onFramesReady(puller: () => boolean): () => void {
      pullers.add(puller);
      return () => pullers.delete(puller);
    },
    /** The pace of now. */
    get bytesPerSecond() {
      return pace.bytesPerSecond;
    },
    get drops() {
      return pacer.drops + lostFrames;
    },
    get unconfirmed() {
      return ledger.unconfirmed;
    },
    /** Resolves when no control stanza waits any more. */
    drained(): Promise<void> {
      if (pacer.controlQueued === 0) return Promise.resolve();
      return new Promise((resolve) => drained.push(resolve));
    },
    acknowledge(live: Stream): void {
      live.write(xml('a', { xmlns: SM_NS, h: String(ledger.inbound) }).toString());
    },
  };
}
