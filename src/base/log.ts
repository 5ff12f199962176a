/**
 * Structured log lines on standard error, as text or as one JSON object a line.
 *
 * A `Log` is passed in, never imported as a global. Pure modules take none: they return events.
 * The only place of the program that writes to the console.
 *
 * @module
 */

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "text" | "json";
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with `fields` added to every line. */
  with(fields: LogFields): Log;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Wall clock in milliseconds since 1970, for the time stamp. */
  readonly wallMs: () => number;
  /** Takes one line without its line end; standard error when absent. */
  readonly write?: (line: string) => void;
}

const SEVERITY: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** A log that writes lines of `level` and above. */
export function createLog(options: LogOptions, bound: LogFields = {}): Log {
  const write = options.write ?? ((line: string) => console.error(line));
  const emit = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (SEVERITY[level] < SEVERITY[options.level]) return;
    const time = new Date(options.wallMs()).toISOString();
    const all = { ...bound, ...fields };
    write(
      options.format === "json"
        ? JSON.stringify({ time, level, message, ...all })
        : `${time} ${level.padEnd(5)} ${message}${formatFields(all)}`,
    );
  };
  return {
    debug: emit("debug"),
    info: emit("info"),
    warn: emit("warn"),
    error: emit("error"),
    with: (fields) => createLog(options, { ...bound, ...fields }),
  };
}

/** A log that writes nothing, for tests and tools. */
export function createSilentLog(): Log {
  return createLog({ level: "error", format: "text", wallMs: () => 0, write: () => undefined });
}

function formatFields(fields: LogFields): string {
  let text = "";
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    // Quoting by JSON keeps a hostile value (a node name, a peer's error) on its own line.
    const plain = typeof value !== "string" || /^[\w.:/@+-]+$/.test(value);
    text += ` ${key}=${plain ? value : JSON.stringify(value)}`;
  }
  return text;
}
