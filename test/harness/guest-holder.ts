/** A process that boots one guest, says where it is, and waits to be killed. */
import { openTestLan } from './guest.ts';

const lan = await openTestLan();
const guest = await lan.boot(0);
process.stdout.write(`${JSON.stringify({ pid: guest.pid, folder: lan.run.path })}\n`);
setInterval(() => {}, 1 << 30);
