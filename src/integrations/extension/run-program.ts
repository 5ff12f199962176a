/**
 * One program of the operator, run to its end, however it behaves: it may hang, print without end,
 * or leave something behind that holds on to its output.
 *
 * No shell; nothing of this process's environment, which has tokens and sockets of the service
 * manager in it. What is in the environment and on standard input may come from other nodes.
 *
 * @module
 */
import { err, ok, type Result } from "../../base/result.ts";
import type { Clock } from "../../host/ports.ts";

/** Then it and what it has started are killed. flannel would wait for ever. */
export const PROGRAM_TIMEOUT_MS = 30_000;
/** Of both outputs each. A lease has room for less (BACKEND_DATA_SIZE_MAX_BYTES). */
export const PROGRAM_OUTPUT_BYTES_MAX = 64 * 1024;
/** What is told of a failing program's output: its end, characters. */
const TOLD_OUTPUT_LENGTH_MAX = 400;
/** For the rest of its output, when something that it has left behind keeps that open. */
const DRAIN_MS = 200;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export interface ProgramCall {
  /** An absolute path. */
  readonly program: string;
  readonly args: readonly string[];
  /** All of the environment beside PATH. */
  readonly env: Readonly<Record<string, string>>;
  readonly input: string;
  readonly clock: Pick<Clock, "after">;
  /** Kills it when raised. */
  readonly signal: AbortSignal;
}

/** What it printed on standard output, or what went wrong, as a clause that others end. */
export async function runProgram(call: ProgramCall): Promise<Result<string, string>> {
  const started = start(call);
  if (!started.ok) return started;
  const child = started.value;
  // What the program has started is killed with it: it is in the same process group.
  let ending: string | undefined;
  const kill = (reason: string) => {
    ending ??= reason;
    killGroup(child.pid);
  };
  const onAbort = () => kill("it was stopped with the agent");
  const cancel = call.clock.after(PROGRAM_TIMEOUT_MS, () =>
    kill(`it was killed after ${PROGRAM_TIMEOUT_MS / 1000} s`),
  );
  call.signal.addEventListener("abort", onAbort);
  const onFlood = () => kill(`it was killed after printing ${PROGRAM_OUTPUT_BYTES_MAX} bytes`);
  const outputs = [new Output(child.stdout, onFlood), new Output(child.stderr, onFlood)] as const;
  const code = await child.exited;
  cancel();
  call.signal.removeEventListener("abort", onAbort);
  const cancelDrain = call.clock.after(DRAIN_MS, () => {
    for (const output of outputs) output.stop();
  });
  const [output, errors] = await Promise.all(outputs.map((each) => each.ended));
  cancelDrain();
  if (ending === undefined && code === 0) return ok((output ?? "").trim());
  const how = ending ?? (child.signalCode ? `it died of ${child.signalCode}` : `exit code ${code}`);
  const said = tell(`${errors}\n${output}`);
  return err(said === "" ? how : `${how}: ${said}`);
}

type Child = Bun.Subprocess<Buffer, "pipe", "pipe">;

function start({ args, env, input, program }: ProgramCall): Result<Child, string> {
  try {
    return ok(
      Bun.spawn([program, ...args], {
        cwd: "/",
        env: { PATH, ...env },
        stdin: Buffer.from(input),
        stdout: "pipe",
        stderr: "pipe",
        detached: true,
      }),
    );
  } catch (cause) {
    // Not a program of this machine's kind, or a script whose interpreter is not there.
    return err(cause instanceof Error ? cause.message : String(cause));
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Over by itself in this moment.
  }
}

/** What comes out of a pipe, up to the limit. */
class Output {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  /** The text, once the pipe is closed or `stop` was called. */
  readonly ended: Promise<string>;

  constructor(stream: ReadableStream<Uint8Array>, onFlood: () => void) {
    this.#reader = stream.getReader();
    this.ended = this.#read(onFlood);
  }

  stop(): void {
    void this.#reader.cancel();
  }

  async #read(onFlood: () => void): Promise<string> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const { value } = await this.#reader.read();
      if (value === undefined) break;
      // Read on: a killed program may have filled the pipe.
      if (size < PROGRAM_OUTPUT_BYTES_MAX) chunks.push(value);
      size += value.length;
      if (size > PROGRAM_OUTPUT_BYTES_MAX) onFlood();
    }
    return Buffer.concat(chunks).subarray(0, PROGRAM_OUTPUT_BYTES_MAX).toString();
  }
}

/** The end of what a program printed, on one line and without what a terminal would obey. */
function tell(output: string): string {
  const line = output.replace(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
  if (line.length <= TOLD_OUTPUT_LENGTH_MAX) return line;
  return `…${line.slice(-TOLD_OUTPUT_LENGTH_MAX).trimStart()}`;
}
