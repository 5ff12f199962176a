/**
 * What commands read from and write to: standard streams, as far as they are a terminal.
 *
 * Data goes to standard output, everything said to a person to standard error. Writes are awaited,
 * so that nothing is lost when the process ends right after; a reader that has gone (`| head`) is
 * not an error.
 *
 * @module
 */
import type { Environment } from "../agent/config.ts";
import { HostError } from "../base/host-error.ts";
import { openSystemClock } from "../host/clock/system-clock.ts";

export interface Terminal {
  readonly env: Environment;
  /** Width to lay out for; infinite when standard output is not a terminal. */
  readonly columns: number;
  /** Lines of the screen; infinite when standard output is not a terminal. */
  readonly rows: number;
  /** Whether standard output is a terminal. */
  readonly isTerminal: boolean;
  readonly color: boolean;
  /** Whether a person can be asked. */
  readonly canAsk: boolean;
  /** Whether whoever read standard output has gone; what is printed then is lost. */
  readonly isReaderGone: boolean;
  /** Writes `text` and a line end to standard output. */
  print(text: string): Promise<void>;
  /** Writes `bytes`, and nothing else, to standard output. */
  write(bytes: Uint8Array): Promise<void>;
  /** Writes `text` and a line end to standard error. */
  tell(text: string): Promise<void>;
  /** The line that a person answers, or undefined when the input ends. Only if `canAsk`. */
  ask(question: string): Promise<string | undefined>;
  /** Standard input to its end, or undefined when it is longer than `sizeBytesMax`. */
  readInput(sizeBytesMax: number): Promise<Uint8Array | undefined>;
  /** Resolves after `delayMs`: the time between two looks at the same thing. */
  pause(delayMs: number): Promise<void>;
}

/**
 * The terminal of this process. The streams are touched when they are first needed: the runtime
 * makes them then, at a cost of memory that the agent, which only logs, need not pay.
 */
export function openTerminal(env: Environment): Terminal {
  const isPlain = (env["NO_COLOR"] ?? "") !== "" || env["TERM"] === "dumb";
  return {
    env,
    get columns() {
      return process.stdout.isTTY === true ? process.stdout.columns : Number.POSITIVE_INFINITY;
    },
    get rows() {
      return process.stdout.isTTY === true ? process.stdout.rows : Number.POSITIVE_INFINITY;
    },
    get isTerminal() {
      return process.stdout.isTTY === true;
    },
    get color() {
      return process.stdout.isTTY === true && !isPlain;
    },
    get canAsk() {
      return process.stdin.isTTY === true && process.stderr.isTTY === true;
    },
    get isReaderGone() {
      return gone.has(process.stdout);
    },
    print: (text) => write(process.stdout, `${text}\n`),
    write: (bytes) => write(process.stdout, bytes),
    tell: (text) => write(process.stderr, `${text}\n`),
    ask,
    readInput,
    pause,
  };
}

/** Streams whose other end was closed. */
const gone = new WeakSet<NodeJS.WriteStream>();

function write(stream: NodeJS.WriteStream, data: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    // Told to whoever waits for this write; without a listener the event would end the process.
    if (stream.listenerCount("error") === 0) stream.on("error", () => undefined);
    stream.write(data, (error) => {
      const errno = error && "code" in error ? String(error.code) : undefined;
      if (errno === "EPIPE") gone.add(stream);
      if (!error || errno === "EPIPE") return resolve();
      const object = stream === process.stdout ? "standard output" : "standard error";
      const detail = { operation: "write", object, cause: error };
      return reject(new HostError(errno === undefined ? detail : { ...detail, errno }));
    });
  });
}

async function ask(question: string): Promise<string | undefined> {
  const { createInterface } = await import("node:readline");
  // Line editing is left to the kernel's terminal: no raw mode to restore when we are killed.
  const { stdin: input, stderr: output } = process;
  const lines = createInterface({ input, output, terminal: false });
  const answer = await new Promise<string | undefined>((resolve) => {
    lines.once("close", () => resolve(undefined));
    lines.question(question, resolve);
  });
  lines.close();
  return answer;
}

async function readInput(sizeBytesMax: number): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of Bun.stdin.stream()) {
    sizeBytes += chunk.length;
    if (sizeBytes > sizeBytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    openSystemClock().after(delayMs, resolve);
  });
}
