/** What the owner reads: requests, the policy and its sources. Names from other machines steer nothing. */
import { expect, test } from 'vitest';
import { policyText } from '../../../src/cli/policy.ts';
import { requestLines } from '../../../src/cli/request-text.ts';
import { requestsText } from '../../../src/cli/requests.ts';
import type { LeaseRequest } from '../../../src/control/api.ts';
import type { Trust } from '../../../src/job/policy.ts';
import { question } from '../../harness/consent.ts';

const VERDICT: LeaseRequest['verdict'] = {
  answer: 'no',
  rule: { place: 'policy.json caps.cpus', words: 'the owner allows 1 cpus a guest, 2 were asked for', kind: 'cap' },
  reasons: ['the owner allows 1 cpus a guest, 2 were asked for'],
};
const WAITING = { id: 'a1', question: question(), verdict: VERDICT, since: 0 };
const NASTY = '\u001b]0;owned\u0007\u001b[2Jx\r\n\u202ey\u009b1m';

test.each<[Trust, string]>([
  ['verified', 'anna@x (verified, 3f2a-90c1)'],
  ['invited', 'anna@x (not verified: came by invitation, 3f2a-90c1)'],
  ['vouched', 'anna@x (not verified: a verified device vouches for this one, 3f2a-90c1)'],
  ['first-sight', 'anna@x (NOT VERIFIED: key first seen here, 3f2a-90c1)'],
  ['self', 'anna@x (a device of your own, 3f2a-90c1)'],
])('%s reads as it is', (trust, text) => {
  const who = { account: 'anna@x', device: '3f2a-90c1', trust };
  expect(requestLines({ ...WAITING, question: question({ who }) })[1]).toBe(`  who       ${text}`);
});

test('disk, duration, publisher and an image that was never here are said', () => {
  const image = { name: 'debian', hash: 'f'.repeat(64), bytes: 1, publisher: 'ben@x', seen: false };
  const text = requestLines({ ...WAITING, question: question({ image, diskMiB: 500, seconds: 7500 }) }).join('\n');
  expect(text).toContain('debian (ffffffffffff, by ben@x, never seen here)');
  expect(text).toContain('112 MiB, 1 cpu, disk 500 MiB');
  expect(text).toContain('2 h 5 min');
});

test('kith requests: those that wait with the next step, and the last decisions', () => {
  const decided = { ...WAITING, id: 'b2', answer: 'no' as const, by: 'policy', at: 0, times: 3 };
  const text = requestsText({ waiting: [WAITING], decided: [decided] });
  expect(text).toContain('kith allow a1 or kith refuse a1 answers\n');
  expect(text).toContain('b2       no (3 times)  policy  anna@x  mesh  the owner allows 1 cpus');
  expect(requestsText({ waiting: [], decided: [] })).toBe('no request waits for an answer\n');
});

test('kith policy: a broken file is said loudly', () => {
  const rows = [{ key: 'caps.cpus', value: 1, place: 'policy.json caps.cpus', note: 'of one guest' }];
  const view = { path: '/p/policy.json', role: 'peer', confined: true, rows };
  expect(policyText(view)).toBe(
    'policy of kith peer, file /p/policy.json\n\nrule       value  from\ncaps.cpus  1      policy.json caps.cpus  of one guest\n',
  );
  expect(policyText({ ...view, fault: 'it is not JSON' })).toContain(
    'BROKEN, the last good one is in force: it is not JSON',
  );
});

test('no name or reason from elsewhere steers the terminal', () => {
  const asked = question({
    job: NASTY,
    who: { account: NASTY, device: NASTY, trust: 'invited' },
    image: { name: NASTY, hash: NASTY, bytes: 1, publisher: NASTY, seen: false },
  });
  const verdict = { ...VERDICT, rule: { ...VERDICT.rule, words: NASTY } };
  const request = { id: 'a1', question: asked, verdict, since: 0 };
  const decided = { ...request, answer: 'no' as const, by: 'policy', at: 0, times: 1 };
  const text = requestsText({ waiting: [request], decided: [decided] });
  // eslint-disable-next-line no-control-regex -- that is the point
  expect(text.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
  expect(text.split('\n')).toHaveLength(13);
});
