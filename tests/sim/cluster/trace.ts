/**
 * What happened, step by step: a digest of all of it, and the last steps in words.
 *
 * Two runs of one seed must give the same digest. The words are made only when they are shown.
 *
 * @module
 */
import type { SimEvent, StepKind } from "./scheduler.ts";

const KEPT_MAX = 4096;
const KIND_CODES: Readonly<Record<StepKind, number>> = {
  message: 1,
  call: 2,
  timer: 3,
  disk: 4,
  client: 5,
  nemesis: 6,
};

interface Step {
  readonly atMs: number;
  readonly step: number;
  readonly node: number;
  readonly kind: StepKind | "note";
  readonly subject: unknown;
}

/** The history of one simulation. */
export class Trace {
  #low = 0x811c9dc5;
  #high = 0x9e3779b9;
  #steps = 0;
  readonly #kept: Step[] = [];

  /** How many steps were taken. */
  get steps(): number {
    return this.#steps;
  }

  /** One step is about to be taken. */
  step(event: SimEvent): void {
    this.#steps += 1;
    const node = event.process?.node ?? 0;
    this.mix(KIND_CODES[event.kind] * 64 + node);
    this.mix(event.atMs * 1024);
    const { atMs, kind, subject } = event;
    this.#keep({ atMs, step: this.#steps, node, kind, subject });
  }

  /** Something worth telling happened within a step. */
  note(atMs: number, node: number, text: string): void {
    for (let i = 0; i < text.length; i++) this.mix(text.charCodeAt(i));
    this.#keep({ atMs, step: this.#steps, node, kind: "note", subject: text });
  }

  /** Makes the digest depend on `value`. */
  mix(value: number): void {
    const word = Math.floor(value) | 0;
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#high = Math.imul(((this.#high << 7) | (this.#high >>> 25)) ^ word, 0x85ebca6b);
  }

  /** The digest of everything so far. */
  digest(): string {
    const hex = (word: number) => (word >>> 0).toString(16).padStart(8, "0");
    return hex(this.#low) + hex(this.#high);
  }

  /** The last `count` steps and notes, oldest first, in words. */
  tail(count: number): string[] {
    return count === 0 ? [] : this.#kept.slice(-count).map(describeStep);
  }

  #keep(step: Step): void {
    this.#kept.push(step);
    if (this.#kept.length >= 2 * KEPT_MAX) this.#kept.splice(0, KEPT_MAX);
  }
}

function describeStep({ atMs, step, node, kind, subject }: Step): string {
  const time = `${(atMs / 1000).toFixed(4)}s`.padStart(11);
  const where = node === 0 ? "     " : `node ${node}`.padEnd(6);
  return `${time} #${step} ${where} ${kind.padEnd(7)} ${describeSubject(subject)}`;
}

function describeSubject(subject: unknown): string {
  if (subject === undefined) return "";
  if (typeof subject === "string") return subject;
  const text = JSON.stringify(subject, (_, value: unknown) => {
    if (value instanceof Uint8Array) return `${value.length} bytes`;
    if (Array.isArray(value) && value.length > 6) return `${value.length} items`;
    return value;
  });
  return (text ?? "").slice(0, 240);
}
