/** Questions to a server that change nothing there: which logins it offers, what time it has, whether a room would let us in. */
import { KithError } from '../base/errors.ts';
import { readFeatures } from './login.ts';
import { Refused } from './requests.ts';
import { roomFeatures } from './room-config.ts';
import { noService, unknownRoom } from './room-errors.ts';
import { MECHANISMS } from './scram.ts';
import type { Session } from './session.ts';
import { openStream, type StreamOptions } from './stream.ts';
import { errorCondition, MUC_NS, SASL_NS, xml } from './xml.ts';

/** The SASL mechanisms that a server offers, best of ours first, and the one of them that we would take. */
export async function offeredLogins(
  address: StreamOptions,
): Promise<{ readonly offered: readonly string[]; readonly ours: string | undefined }> {
  const stream = await openStream(address);
  try {
    const mechanisms = (await readFeatures(stream)).getChild('mechanisms', SASL_NS)?.getChildren('mechanism') ?? [];
    const offered = mechanisms.slice(0, 20).map((mechanism) => mechanism.getText().slice(0, 40));
    return { offered, ours: MECHANISMS.find((name) => offered.includes(name)) };
  } finally {
    await stream.close();
  }
}

const TIME_NS = 'urn:xmpp:time';

/** The server's clock (XEP-0202), milliseconds since 1970. Undefined: it keeps its time to itself. */
export async function serverTime(session: Session, domain: string, signal: AbortSignal): Promise<number | undefined> {
  const answer = await session
    .request(domain, 'get', xml('time', { xmlns: TIME_NS }), { signal })
    .catch((error: unknown) => {
      if (error instanceof Refused) return undefined;
      throw error;
    });
  if (!answer) return undefined;
  const text = answer.getChild('time', TIME_NS)?.getChildText('utc') ?? '';
  // XEP-0082: seconds, fractions if the server likes; without them the truth is half a second later on average.
  const [whole, fraction] = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/.exec(text) ?? [];
  const time = whole === undefined ? Number.NaN : Date.parse(whole);
  if (Number.isNaN(time)) {
    throw new KithError({
      code: 'xmpp.malformed',
      message: `the server's time is no time: ${JSON.stringify(text.slice(0, 40))}`,
      hint: 'ask whoever runs the server',
    });
  }
  return fraction === undefined ? time + 500 : time;
}

export interface RoomInquiry {
  readonly features: ReadonlySet<string>;
  /** `no`: for members only, and we are none. `unknown`: the room does not tell outsiders. */
  readonly entry: 'yes' | 'no' | 'unknown';
}

/** Asks about a room without entering it. Throws `xmpp.unknown-room`, `xmpp.no-such-room`. */
export async function inquireRoom(session: Session, room: string, signal: AbortSignal): Promise<RoomInquiry> {
  const features = await roomFeatures(session, room, signal).catch((error: unknown) => {
    throw error instanceof Refused ? absence(error, room) : error;
  });
  if (!features.has('muc_membersonly')) return { features, entry: 'yes' };
  // XEP-0045 9.5: members may read the list of members, others may not.
  const item = xml('item', { affiliation: 'member' });
  try {
    await session.request(room, 'get', xml('query', { xmlns: `${MUC_NS}#admin` }, item), { signal });
    return { features, entry: 'yes' };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { features, entry: errorCondition(error.stanza) === 'forbidden' ? 'no' : 'unknown' };
  }
}

function absence(error: Refused, room: string): KithError {
  const condition = errorCondition(error.stanza);
  if (condition === 'item-not-found') return unknownRoom(room);
  // The last: our server talks to no others (Prosody without s2s).
  const without = ['remote-server-not-found', 'remote-server-timeout', 'service-unavailable', 'not-allowed'];
  return without.includes(condition) ? noService(room, condition) : error;
}
