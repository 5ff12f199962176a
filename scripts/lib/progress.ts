/**
 * What a script is doing, said to the person who waits for it.
 *
 * On a terminal a line is rewritten while a step runs; elsewhere (a log, CI) each step gets a line
 * when it ends, and one now and then while it takes long. Colour only on a terminal, and not with
 * NO_COLOR.
 *
 * @module
 */

const terminal = process.stdout.isTTY === true;
const coloured = terminal && (process.env["NO_COLOR"] ?? "") === "";
const STATUS_INTERVAL_MS = 250;
/** How often a log is told that a long step still runs. */
const HEARTBEAT_MS = 10_000;
const INDENT = "     ";

/** Says something about the step while it runs. */
export interface StepNotes {
  /** Replaces what is shown beside the running step. */
  status(text: string): void;
  /** Shown beside the finished step. */
  result(text: string): void;
  /** Lines shown under the step, at once. */
  show(text: string): void;
  /** Marks the step as failed although it goes on to its end. */
  fail(): void;
}

/** What a finished step was and how long it took. */
export interface StepTime {
  readonly title: string;
  readonly elapsedMs: number;
}

export class Progress {
  readonly times: StepTime[] = [];
  #count = 0;

  /** Runs `task` as a numbered step; an error of it is passed on after the step is marked. */
  async step<T>(title: string, task: (notes: StepNotes) => Promise<T>): Promise<T> {
    this.#count += 1;
    const line = new StepLine(`${String(this.#count).padStart(2)} `, title);
    try {
      const value = await task(line);
      this.times.push({ title, elapsedMs: line.end("done") });
      return value;
    } catch (error) {
      line.end("failed");
      throw error;
    }
  }
}

/** One step on the screen. */
class StepLine implements StepNotes {
  readonly #label: string;
  readonly #startMs = performance.now();
  readonly #timer: Timer;
  #status = "";
  #result = "";
  #failed = false;

  constructor(number: string, title: string) {
    this.#label = `${number} ${title}`;
    if (terminal) this.#draw();
    this.#timer = setInterval(() => this.#draw(), terminal ? STATUS_INTERVAL_MS : HEARTBEAT_MS);
  }

  status(text: string): void {
    this.#status = text;
  }

  result(text: string): void {
    this.#result = text;
  }

  show(text: string): void {
    if (terminal) process.stdout.write("\r\x1b[K");
    console.log(indent(text));
  }

  fail(): void {
    this.#failed = true;
  }

  /** Ends the line and gives the time taken, in milliseconds. */
  end(outcome: "done" | "failed"): number {
    clearInterval(this.#timer);
    const elapsedMs = performance.now() - this.#startMs;
    const good = outcome === "done" && !this.#failed;
    const mark = good ? paint("32", "✓") : paint("31", "✗");
    const result = this.#result === "" ? "" : `: ${this.#result}`;
    if (terminal) process.stdout.write("\r\x1b[K");
    console.log(`${mark} ${this.#label}${result} ${paint("2", `(${seconds(elapsedMs)})`)}`);
    return elapsedMs;
  }

  #draw(): void {
    const time = seconds(performance.now() - this.#startMs);
    const status = this.#status === "" ? "" : `: ${this.#status}`;
    const text = `… ${this.#label}${status} (${time})`;
    if (terminal)
      process.stdout.write(`\r\x1b[K${text.slice(0, (process.stdout.columns || 80) - 1)}`);
    else console.log(text);
  }
}

/** "1.2 s", "180 s". */
export function seconds(elapsedMs: number): string {
  return `${(elapsedMs / 1000).toFixed(elapsedMs < 99_950 ? 1 : 0)} s`;
}

/** `text` moved under the title of a step. */
export function indent(text: string): string {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => `${INDENT}${line}`)
    .join("\n");
}

function paint(code: string, text: string): string {
  return coloured ? `\x1b[${code}m${text}\x1b[0m` : text;
}
