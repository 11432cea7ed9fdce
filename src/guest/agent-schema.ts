/** What answers of a guest agent may look like: they come from inside a guest, so each is checked before it is used. */
import { parser } from '../base/validate.ts';

export interface ExecStatus {
  readonly exited: boolean;
  readonly exitcode?: number;
  readonly signal?: number;
  readonly 'out-data'?: string;
  readonly 'err-data'?: string;
  readonly 'out-truncated'?: boolean;
  readonly 'err-truncated'?: boolean;
}

export interface AgentAnswer {
  readonly id?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

const text = { type: 'string' };

export const parseAnswer = parser<AgentAnswer>('answer of the guest agent', 'guest.agent-garbled', {
  type: 'object',
  properties: { error: { type: 'object', required: ['class', 'desc'], properties: { class: text, desc: text } } },
});

export const parseExec = parser<{ readonly pid: number }>('answer of the guest agent', 'guest.agent-garbled', {
  type: 'object',
  required: ['pid'],
  properties: { pid: { type: 'integer', minimum: 1, maximum: 2 ** 31 - 1 } },
});

export const parseStatus = parser<ExecStatus>('answer of the guest agent', 'guest.agent-garbled', {
  type: 'object',
  required: ['exited'],
  properties: {
    exited: { type: 'boolean' },
    exitcode: { type: 'integer', minimum: -(2 ** 31), maximum: 2 ** 32 },
    signal: { type: 'integer', minimum: 0, maximum: 128 },
    'out-data': text,
    'err-data': text,
    'out-truncated': { type: 'boolean' },
    'err-truncated': { type: 'boolean' },
  },
});
