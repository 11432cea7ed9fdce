/** Why a room did not let us in or put us out, in words for a person. */
import { KithError } from '../base/errors.ts';
import { domainOf, errorCondition, stanzaError, type Element } from './xml.ts';

/** Conditions of XEP-0045 7.2 and of RFC 6120 8.3.3 for services that are not there. */
export function entryError(stanza: Element, room: string, nick: string): KithError {
  const condition = errorCondition(stanza);
  switch (condition) {
    case 'conflict':
      return nickTaken(room, nick);
    case 'registration-required':
      return new KithError({
        code: 'xmpp.not-a-member',
        message: `the room ${room} is for members only`,
        hint: 'ask its owner to admit your account',
      });
    case 'forbidden':
      return new KithError({
        code: 'xmpp.banned',
        message: `the owner of ${room} does not let you in`,
        hint: 'ask the owner',
      });
    case 'not-authorized':
      return new KithError({
        code: 'xmpp.room-password',
        message: `the room ${room} wants a password`,
        hint: 'use a room without one',
      });
    case 'not-allowed':
    case 'item-not-found':
      return unknownRoom(room);
    case 'jid-malformed':
      return new KithError({
        code: 'xmpp.bad-name',
        message: `${room}/${nick} is not a valid address`,
        hint: 'use letters, digits and dashes',
      });
    case 'remote-server-not-found':
    case 'remote-server-timeout':
    case 'service-unavailable':
      return noService(room, condition);
    default:
      return stanzaError(stanza, `the room ${room} refused us`);
  }
}

export const nickTaken = (room: string, nick: string): KithError =>
  new KithError({
    code: 'xmpp.nick-taken',
    message: `somebody in ${room} is called ${nick} already`,
    hint: 'choose another --name',
    retry: 'later',
  });

export const unknownRoom = (room: string): KithError =>
  new KithError({
    code: 'xmpp.unknown-room',
    message: `there is no room ${room}`,
    hint: 'check its name, or ask its host to start it',
  });

export const noService = (room: string, why: string): KithError =>
  new KithError({
    code: 'xmpp.no-such-room',
    message: `there is no room service at ${domainOf(room)} (${why})`,
    hint: 'check the part after the @ of the room',
  });

/** An unavailable presence of our own that we did not ask for (XEP-0045 9 and 10.9). Undefined: technical, worth a new try. */
export function expulsion(statuses: readonly string[], destroyed: boolean, room: string): KithError | undefined {
  const out = (code: string, how: string) =>
    new KithError({ code, message: `we were ${how} ${room}`, hint: 'ask the owner of the room', retry: 'never' });
  if (destroyed)
    return new KithError({
      code: 'xmpp.room-destroyed',
      message: `the room ${room} was closed by its owner`,
      retry: 'never',
    });
  if (statuses.includes('332') || statuses.includes('333')) return undefined;
  if (statuses.includes('301')) return out('xmpp.banned', 'banned from');
  if (statuses.includes('321') || statuses.includes('322')) return out('xmpp.not-a-member', 'no longer admitted to');
  if (statuses.includes('307')) return out('xmpp.kicked', 'put out of');
  return undefined;
}
