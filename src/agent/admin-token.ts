/**
 * The token with which the admin API is written to over TCP: made once, kept in the data directory.
 *
 * @module
 */
import { join } from "node:path";
import { readFileIfAny, writeFileAtomic } from "../host/files/atomic-file.ts";
import type { Random } from "../host/ports.ts";

const SIZE_BYTES = 32;
const MODE = 0o600;

/** The token of the agent of `dataDir`; a new one when there is none yet. Throws `HostError`. */
export async function keepAdminToken(dataDir: string, random: Random): Promise<string> {
  const path = join(dataDir, "admin-token");
  const known = await readFileIfAny(path);
  const text = known && Buffer.from(known).toString("utf8").trim();
  if (text) return text;
  const token = Buffer.from(random.bytes(SIZE_BYTES)).toString("hex");
  await writeFileAtomic(path, `${token}\n`, { mode: MODE });
  return token;
}
