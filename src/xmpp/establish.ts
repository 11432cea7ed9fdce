/** Turns a fresh stream into a session: log in, then resume the old session (XEP-0198) or bind a new one. */
import { KithError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { authenticate, bind, readFeatures, unexpected } from './login.ts';
import type { Stream } from './stream.ts';
import { SM_NS, xml, type Element } from './xml.ts';

export interface Resumption {
  readonly id: string;
  /** Stanzas that we handled. */
  readonly inbound: number;
}

export type Established =
  | { readonly kind: 'resumed'; readonly h: string | undefined }
  | {
      readonly kind: 'fresh';
      readonly jid: string;
      /** Undefined: the server will not let us resume. */
      readonly resumeId: string | undefined;
      /** What the old session had confirmed, if the server still knows. */
      readonly h: string | undefined;
      /** Stanzas that came before counting began: handled, not counted. */
      readonly early: readonly Element[];
    };

export async function establish(
  stream: Stream,
  options: {
    readonly username: string;
    readonly password: string;
    readonly resource: string;
    readonly resumption: Resumption | undefined;
  },
): Promise<Established> {
  const { resource, resumption } = options;
  await authenticate(stream, options);
  const features = await readFeatures(stream);
  if (!features.getChild('sm', SM_NS)) {
    throw new KithError({
      code: 'xmpp.no-stream-management',
      message: 'the server has no stream management (XEP-0198), so a short cut would lose messages',
      hint: 'enable mod_smacks (Prosody) or mod_stream_mgmt (ejabberd), or use another server',
    });
  }
  let known: string | undefined;
  if (resumption) {
    stream.write(xml('resume', { xmlns: SM_NS, previd: resumption.id, h: String(resumption.inbound) }).toString());
    const answer = await stream.read();
    if (answer.is('resumed', SM_NS)) return { kind: 'resumed', h: answer.attrs['h'] as string | undefined };
    if (!answer.is('failed', SM_NS)) throw unexpected(answer, 'an answer to resuming');
    known = answer.attrs['h'] as string | undefined;
  }
  const jid = await bind(stream, resource, newId());
  stream.write(xml('enable', { xmlns: SM_NS, resume: 'true' }).toString());
  const early: Element[] = [];
  for (;;) {
    const element = await stream.read();
    if (element.is('enabled', SM_NS)) {
      const resumable = ['true', '1'].includes(String(element.attrs['resume']));
      return {
        kind: 'fresh',
        jid,
        resumeId: resumable ? (element.attrs['id'] as string | undefined) : undefined,
        h: known,
        early,
      };
    }
    if (element.is('failed', SM_NS) || early.push(element) > 1000) throw unexpected(element, 'stream management');
  }
}
