/**
 * A terminal that keeps what is printed, for tests that run commands in this process.
 *
 * @module
 */
import type { Terminal } from "./terminal.ts";

export interface FakeTerminal extends Terminal {
  /** Standard output so far. */
  readonly printed: () => string;
  /** Standard error so far. */
  readonly told: () => string;
}

export interface FakeTerminalOptions extends Partial<Terminal> {
  /** What comes on standard input. */
  readonly input?: string;
  /** Pauses after which whoever reads has gone. */
  readonly pausesMax?: number;
}

/** A pipe without environment, unless `options` say otherwise. */
export function createFakeTerminal(options: FakeTerminalOptions = {}): FakeTerminal {
  const { input = "", pausesMax = 1, ...overrides } = options;
  let pauses = 0;
  let out = "";
  let err = "";
  return {
    env: {},
    columns: Number.POSITIVE_INFINITY,
    rows: Number.POSITIVE_INFINITY,
    isTerminal: false,
    color: false,
    canAsk: false,
    get isReaderGone() {
      return pauses >= pausesMax;
    },
    print: async (text) => {
      out += `${text}\n`;
    },
    write: async (bytes) => {
      out += Buffer.from(bytes).toString("latin1");
    },
    tell: async (text) => {
      err += `${text}\n`;
    },
    ask: async () => undefined,
    readInput: async (sizeBytesMax) => {
      const bytes = Buffer.from(input);
      return bytes.length > sizeBytesMax ? undefined : bytes;
    },
    pause: async () => {
      pauses++;
    },
    printed: () => out,
    told: () => err,
    ...overrides,
  };
}
