/**
 * A replicated store under measurement: three members on this machine, driven over HTTP alike.
 *
 * @module
 */
import type { LabProcess } from "../../../tests/lab/process.ts";
import type { Address } from "./http-connection.ts";

/** Prefix of every key that the benchmark writes. */
export const KEY_PREFIX = "/bench/";

/** One member of a store. */
export interface StoreMember extends Address {
  readonly name: string;
  /** The process last started. */
  process: LabProcess;
}

/** How fresh a read must be. */
export type Consistency = "linearizable" | "local";

/** Three members that form one store. */
export interface StoreSystem {
  /** With its version. */
  readonly name: string;
  readonly members: readonly StoreMember[];
  /** How a planned transfer of leadership is asked for. */
  readonly transferWords: string;
  /** The bytes that stand in an event of the watch before the number of `numberedValue`. */
  readonly eventMark: string;
  /** Starts the members and makes one cluster of them. */
  start(): Promise<void>;
  /** Starts the process of `member` again, without waiting for it. */
  restart(member: StoreMember): void;
  /** Resolves when all members follow the same leader; gives that one. */
  settled(): Promise<StoreMember>;
  putRequest(member: StoreMember, key: string, value: Uint8Array): Uint8Array;
  getRequest(member: StoreMember, key: string, consistency: Consistency): Uint8Array;
  /** A watch of `KEY_PREFIX`, from now on. */
  watchRequest(member: StoreMember): Uint8Array;
  /** The number in what follows `eventMark` in an event. */
  eventNumber(text: string): number;
  /** Moves leadership away from `leader`, which may end for it. */
  transfer(leader: StoreMember): Promise<void>;
  stop(): Promise<void>;
}

const NUMBER_DIGITS = 9;
/** How the text of `numberedValue` begins. */
export const NUMBER_MARK = "seq";

/** A value of `sizeBytes` that begins with a number which can be found in an event of a watch. */
export function numberedValue(number: number, sizeBytes: number): Uint8Array {
  const text = `${NUMBER_MARK}${String(number).padStart(NUMBER_DIGITS, "0")}`;
  return Buffer.from(text.padEnd(sizeBytes, "."));
}

/** The number of a value of which `text` is what follows the mark. */
export function numberInText(text: string): number {
  return Number(text.slice(0, NUMBER_DIGITS));
}

/** How `numberedValue` begins, in base64: three bytes are four characters. */
export const NUMBER_MARK_BASE64 = Buffer.from(NUMBER_MARK).toString("base64");

/** The number of a value in base64, of which `text` is what follows the mark. */
export function numberInBase64(text: string): number {
  return Number(Buffer.from(text.slice(0, (NUMBER_DIGITS / 3) * 4), "base64").toString());
}
