/** Check of the room: is it there, does it suit us, would it let us in; asked from outside, so that nobody notices. */
import { errorCode } from '../base/errors.ts';
import { inquireRoom, type RoomInquiry } from '../xmpp/inquiries.ts';
import { broken, fine, skipped, weak, type Check, type Finding } from './check.ts';

const ALONE = 'nobody meets here: no peers, no jobs';

const room: Check = {
  name: 'room',
  after: ['login'],
  deadlineMs: 40_000,
  cost: ALONE,
  async run(context, signal) {
    const { room, createRoom } = context;
    if (!room) return skipped('no room is configured', ALONE, 'pass --room NAME@SERVICE or an invitation');
    const session = await context.session(signal);
    try {
      return judge(room, await inquireRoom(session, room, signal));
    } catch (error) {
      if (createRoom && errorCode(error) === 'xmpp.unknown-room')
        return fine(`${room} is not there yet; the first peer makes it`);
      throw error;
    }
  },
};

/** What disqualifies a room, worst first. */
const FLAWS: readonly {
  readonly when: (inquiry: RoomInquiry) => boolean;
  readonly finding: (room: string) => Finding;
}[] = [
  {
    when: ({ entry }) => entry === 'no',
    finding: (room) => broken(`${room} is for members only, and you are none`, ALONE, 'ask its owner to admit you'),
  },
  {
    when: ({ features }) => features.has('muc_passwordprotected'),
    finding: (room) => broken(`${room} wants a password, and Kith gives none`, ALONE, 'use a room without one'),
  },
  {
    when: ({ features }) => !features.has('muc_nonanonymous'),
    finding: (room) =>
      broken(
        `${room} hides who is in it`,
        'peers cannot reach each other, so none of yours would stay',
        'ask its owner to make it non-anonymous',
      ),
  },
  {
    when: ({ features }) => features.has('muc_moderated'),
    finding: (room) =>
      weak(
        `${room} is moderated`,
        'visitors are not heard there, and some servers let former members listen',
        'ask its owner to switch moderation off',
      ),
  },
  {
    when: ({ entry }) => entry === 'unknown',
    finding: (room) =>
      weak(
        `${room} is for members only and does not say whether you are one`,
        'whether you get in shows only when you try',
        'ask its owner, or try kith peer',
      ),
  },
];

function judge(room: string, inquiry: RoomInquiry): Finding {
  const flaw = FLAWS.find(({ when }) => when(inquiry));
  if (flaw) return flaw.finding(room);
  return fine(
    `${room} shows who is in it and lets you in${inquiry.features.has('muc_membersonly') ? ' as a member' : ''}`,
  );
}

export const roomChecks: readonly Check[] = [room];
