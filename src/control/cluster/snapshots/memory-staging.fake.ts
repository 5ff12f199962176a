/**
 * For tests: snapshots on their way in, in memory.
 *
 * @module
 */
import type { SnapshotStage, SnapshotStaging } from "../../../host/ports.ts";

/** A stage that counts what it takes in, and can be slow. */
export class MemoryStage implements SnapshotStage {
  readonly #chunks: Uint8Array[] = [];
  #sizeBytes = 0;
  isDiscarded = false;
  #tail: Promise<unknown> = Promise.resolve();
  /** Chunks handed in and not stored, at most. */
  waitingCountMax = 0;
  #waitingCount = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  append(offset: number, chunk: Uint8Array): Promise<number> {
    this.#waitingCount += 1;
    this.waitingCountMax = Math.max(this.waitingCountMax, this.#waitingCount);
    const appended = this.#tail.then(() => {
      this.#waitingCount -= 1;
      if (!this.isDiscarded && offset === this.#sizeBytes) {
        this.#chunks.push(chunk.slice());
        this.#sizeBytes += chunk.length;
      }
      return this.#sizeBytes;
    });
    this.#tail = appended;
    return appended;
  }

  async *read(): AsyncGenerator<Uint8Array> {
    yield* this.#chunks;
  }

  discard(): Promise<void> {
    this.isDiscarded = true;
    return Promise.resolve();
  }
}

/** Stages in memory; none survives its process. */
export function createMemoryStaging(): SnapshotStaging {
  return { open: () => Promise.resolve(new MemoryStage()), clear: () => Promise.resolve() };
}
