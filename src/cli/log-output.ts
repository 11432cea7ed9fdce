/** A guest's console output on our stdout: the bytes as they are, or one JSON object per piece. */
import type { LogPiece } from '../control/follow.ts';
import type { CommandContext } from './command.ts';
import { writeBytes } from './output.ts';

export async function printLog(context: CommandContext, guest: string, pieces: AsyncIterable<LogPiece>): Promise<void> {
  const decoder = new TextDecoder(); // keeps a character that two pieces share
  for await (const { offset, data } of pieces) {
    if (context.json)
      context.stdout(`${JSON.stringify({ guest, offset, text: decoder.decode(data, { stream: true }) })}\n`);
    else await writeBytes(process.stdout, data);
  }
}
