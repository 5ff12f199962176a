/**
 * Arguments that may be long, secret or no text: the text itself, "-" for standard input, "@path"
 * for a file.
 *
 * @module
 */
import { REQUEST_SIZE_BYTES_MAX } from "../admin/limits.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { Terminal } from "./terminal.ts";

/**
 * The text that `argument` stands for, or why it cannot be read ("Cannot read …"). Bytes that are
 * no UTF-8 become U+FFFD, which no parser behind this takes for something else.
 */
export async function readTextArgument(
  argument: string,
  terminal: Terminal,
): Promise<Result<string, string>> {
  const bytes = await readBytesArgument(argument, terminal);
  return bytes.ok ? ok(new TextDecoder().decode(bytes.value)) : bytes;
}

/** The bytes that `argument` stands for, or why they cannot be read ("Cannot read …"). */
export async function readBytesArgument(
  argument: string,
  terminal: Terminal,
): Promise<Result<Uint8Array<ArrayBuffer>, string>> {
  if (argument === "-") {
    const bytes = await terminal.readInput(REQUEST_SIZE_BYTES_MAX);
    return bytes === undefined ? err(tooLong("standard input")) : ok(new Uint8Array(bytes));
  }
  if (!argument.startsWith("@")) return ok(new TextEncoder().encode(argument));
  const path = argument.slice(1);
  const object = `file "${path}"`;
  try {
    const file = Bun.file(path);
    // A directory and a device are no text; reading them gives strange errors or does not end.
    if (!(await file.stat()).isFile()) return err(`Cannot read ${object}: not a regular file`);
    if (file.size > REQUEST_SIZE_BYTES_MAX) return err(tooLong(object));
    return ok(await file.bytes());
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    const state = error.code === "ENOENT" ? "it does not exist" : String(error.code);
    return err(`Cannot read ${object}: ${state}; check the path after "@"`);
  }
}

function tooLong(object: string): string {
  return `Cannot read ${object}: longer than ${REQUEST_SIZE_BYTES_MAX} bytes`;
}
