/** What a peer does when the holder of a lease sets a link or captures frames. */
import { MAX_PAGE_BYTES } from '../protocol/limits.ts';
import type { CapturePage, Replies, Request } from '../protocol/messages.ts';
import type { Captures } from './captures.ts';
import type { Fabric } from './fabric.ts';

/** One peer's side of a LAN, as far as its links are set and its frames looked at. */
export type Linked = Pick<Fabric, 'setLink' | 'tapOf'>;

type LinkKind = 'link.set' | 'capture.open' | 'capture.read' | 'capture.close';

/** The holder of the lease has been checked. */
export async function answerLinks(
  request: Extract<Request, { readonly kind: LinkKind }>,
  captures: Captures,
  linked: Linked,
): Promise<Replies[LinkKind]> {
  switch (request.kind) {
    case 'link.set': {
      const { node, wires, shape } = request;
      linked.setLink(node, { ...(wires === undefined ? {} : { wires }), ...(shape === undefined ? {} : { shape }) });
      return {};
    }
    case 'capture.open':
      return { capture: captures.open(request.lease, linked.tapOf(request.link), request.snapLength) };
    case 'capture.read':
      return readCapture(captures, request.lease, request.capture);
    case 'capture.close':
      captures.close(request.lease, request.capture);
      return {};
  }
}

async function readCapture(captures: Captures, lease: string, capture: string): Promise<CapturePage> {
  const { blocks, received, dropped } = await captures.read(lease, capture, MAX_PAGE_BYTES);
  return { data: Buffer.from(blocks).toString('base64'), received, dropped };
}
