/** A fixed number of bytes from a connection, and not one more: the rest stays there for whoever reads next. */
import type { Socket } from 'node:net';

/** Undefined if the connection ends first. */
export function readExactly(socket: Socket, count: number): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  const onReadable = () => {
    const bytes = socket.read(count) as Buffer | null;
    // At the end, read() gives what there is, though it is too little.
    if (bytes) done(bytes.length === count ? bytes : undefined);
  };
  const onEnd = () => done(undefined);
  const done = (bytes: Buffer | undefined) => {
    socket.off('readable', onReadable).off('end', onEnd).off('close', onEnd);
    resolve(bytes);
  };
  socket.on('readable', onReadable).on('end', onEnd).on('close', onEnd);
  if (socket.destroyed) onEnd();
  else onReadable();
  return promise;
}
