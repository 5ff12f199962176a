/**
 * How a script that measures or searches is asked: numbers among its options, and wrong usage told
 * in one line with exit code 2.
 *
 * @module
 */

/** What was asked for makes no sense; the message is for people. */
export class UsageError extends Error {}

/** The number from 0 that the option `name` has as its text; undefined when it was not given. */
export function count(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new UsageError(`Cannot read --${name} "${text}": it must be a number from 0`);
}

/** The same without a fraction. */
export function wholeCount(text: string | undefined, name: string): number | undefined {
  const value = count(text, name);
  if (value === undefined || Number.isSafeInteger(value)) return value;
  throw new UsageError(`Cannot read --${name} "${text}": it must be a whole number from 0`);
}

/** Runs `main` and makes what it resolves to the exit code; 2 when it was asked wrongly. */
export async function runScript(main: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main();
  } catch (cause) {
    if (!isUsage(cause)) throw cause;
    console.error(cause.message);
    process.exitCode = 2;
  }
}

/** Our own words, or those of `parseArgs`. */
function isUsage(cause: unknown): cause is Error {
  if (cause instanceof UsageError) return true;
  return cause instanceof Error && "code" in cause && `${cause.code}`.startsWith("ERR_PARSE_ARGS_");
}
