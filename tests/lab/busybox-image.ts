/**
 * A container image for tests: busybox and nothing else, made here, since none can be pulled.
 *
 * @module
 */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { mustRun, whichProgram } from "./run.ts";

/** What containers call the program. */
export const BUSYBOX = "/bin/busybox";

/** Writes a tar that `docker import` and `podman import` take, below `folder`. Gives its path. */
export async function makeBusyboxImage(folder: string): Promise<string> {
  const root = join(folder, "image");
  const program = whichProgram("busybox");
  if (program === undefined) throw new Error("busybox is not installed");
  mkdirSync(join(root, "bin"), { recursive: true });
  copyFileSync(program, join(root, BUSYBOX));
  const tar = join(folder, "image.tar");
  await mustRun(["tar", "-C", root, "-cf", tar, "."]);
  return tar;
}
