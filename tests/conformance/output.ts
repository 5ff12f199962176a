/**
 * What a stanza prints: log lines above a level, and what the commands say, indented or not.
 *
 * @module
 */

export const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"] as const;
export type Level = (typeof LEVELS)[number];

/** A log line and its level. */
export type LogLine = readonly [level: Level, text: string];

/** The buffer of one environment. At level NONE it takes nothing. */
export class Output {
  #text = "";
  level: Level = "DEBUG";

  get quiet(): boolean {
    return this.level === "NONE";
  }

  get text(): string {
    return this.#text;
  }

  clear(): void {
    this.#text = "";
  }

  write(text: string): void {
    if (!this.quiet) this.#text += text;
  }

  /** One log line, unless its level is below the present one. */
  log(level: Level, text: string): void {
    if (LEVELS.indexOf(this.level) <= LEVELS.indexOf(level)) this.write(`${level} ${text}\n`);
  }

  /** Indents by two spaces what `task` prints; its last line is ended if it was not. */
  indented(task: () => void): void {
    const before = this.#text;
    this.#text = "";
    try {
      task();
    } finally {
      const lines = this.#text.split("\n");
      if (lines.at(-1) === "") lines.pop();
      this.#text = before + lines.map((line) => `  ${line}\n`).join("");
    }
  }
}
