/** The port that other tests use keeps the port's promises. */
import { portContract } from '../../contract/port.ts';
import { createMemoryPort } from '../../harness/memory-port.ts';

portContract('the memory port', async () => {
  const port = createMemoryPort();
  return { port, received: async () => port.frames, [Symbol.asyncDispose]: () => port[Symbol.asyncDispose]() };
});
