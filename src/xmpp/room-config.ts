/** A room made ours before anybody hears of it: the owner's form (XEP-0045 10.2), filled in, submitted, and verified. */
import { KithError } from '../base/errors.ts';
import type { Session } from './session.ts';
import { MUC_NS, xml, type Element } from './xml.ts';

export interface CreateOptions {
  /** Only accounts that were admitted may enter. */
  readonly membersOnly?: boolean;
  /** The room outlives its last occupant, and restarts of the server. */
  readonly persistent?: boolean;
}

const OWNER_NS = `${MUC_NS}#owner`;
const FORM_NS = 'jabber:x:data';

/** Wanted values by field. Fields that a server does not have are left out: ejabberd refuses the whole form for one. */
function wanted(create: CreateOptions): Readonly<Record<string, string>> {
  return {
    'muc#roomconfig_whois': 'anyone', // real JIDs: requests go to them
    'muc#roomconfig_moderatedroom': '0', // ejabberd 22.10 to 23.01 lets expelled members back into moderated rooms
    'muc#roomconfig_publicroom': '0',
    'muc#roomconfig_membersonly': create.membersOnly ? '1' : '0',
    'muc#roomconfig_persistentroom': create.persistent ? '1' : '0',
    'muc#roomconfig_changesubject': '0',
    'muc#roomconfig_enablearchiving': '0',
    'muc#roomconfig_enablelogging': '0',
    'muc#roomconfig_historylength': '0',
    'muc#roomconfig_allowinvites': '0',
    mam: '0',
    public_list: '0',
  };
}

export async function configureRoom(
  session: Session,
  room: string,
  create: CreateOptions,
  signal?: AbortSignal,
): Promise<void> {
  const options = signal ? { signal } : {};
  const answer = await session.request(room, 'get', xml('query', { xmlns: OWNER_NS }), options);
  const form = answer.getChild('query', OWNER_NS)?.getChild('x', FORM_NS);
  const offered = new Set(form?.getChildren('field').map((field) => String(field.attrs['var'])));
  const fields = Object.entries(wanted(create)).filter(([name]) => offered.has(name));
  const value = (name: string, text: string): Element => xml('field', { var: name }, xml('value', {}, text));
  const submit = xml(
    'x',
    { xmlns: FORM_NS, type: 'submit' },
    value('FORM_TYPE', `${MUC_NS}#roomconfig`),
    ...fields.map(([name, text]) => value(name, text)),
  );
  await session.request(room, 'set', xml('query', { xmlns: OWNER_NS }, submit), options);
  const features = await roomFeatures(session, room, signal);
  const missing = ['muc_nonanonymous', 'muc_unmoderated', create.membersOnly ? 'muc_membersonly' : 'muc_open'].filter(
    (name) => !features.has(name),
  );
  if (missing.length > 0) {
    throw new KithError({
      code: 'xmpp.room-config',
      message: `the server did not make the room ${room} as asked (not ${missing.join(', ')})`,
      hint: 'use another server, or the one that kith host starts',
    });
  }
}

export async function roomFeatures(session: Session, room: string, signal?: AbortSignal): Promise<Set<string>> {
  const namespace = 'http://jabber.org/protocol/disco#info';
  const info = await session.request(room, 'get', xml('query', { xmlns: namespace }), signal ? { signal } : {});
  const features = info.getChild('query', namespace)?.getChildren('feature') ?? [];
  return new Set(features.map((feature) => String(feature.attrs['var'])));
}

/** Gives up a room that we own. */
export async function destroyRoom(session: Session, room: string): Promise<void> {
  await session.request(room, 'set', xml('query', { xmlns: OWNER_NS }, xml('destroy', {})));
}

/** `member` may enter a members-only room, `outcast` no room of ours and is put out of it (XEP-0045 9.1 and 9.3), `none` is anybody. */
export async function setAffiliation(
  session: Session,
  room: string,
  account: string,
  affiliation: 'member' | 'outcast' | 'none',
): Promise<void> {
  const item = xml('item', { affiliation, jid: account });
  await session.request(room, 'set', xml('query', { xmlns: `${MUC_NS}#admin` }, item));
}
