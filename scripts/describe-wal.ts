/**
 * Prints a node's log, one JSON object a line: what is in each segment, and where it ends.
 *
 *     bun scripts/describe-wal.ts /var/lib/overlay/…/wal
 *
 * Changes nothing; works on damaged logs too.
 *
 * @module
 */
import { describeWal } from "../src/host/wal/describe-wal.ts";

const directory = process.argv[2];
if (directory === undefined) {
  process.stderr.write(
    "Cannot describe a log: no directory given; name the one with *.wal files\n",
  );
  process.exitCode = 2;
} else {
  for await (const record of describeWal(directory)) {
    process.stdout.write(`${JSON.stringify(record)}\n`);
  }
}
