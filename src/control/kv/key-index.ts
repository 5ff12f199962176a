/**
 * A hash index: from a key to the one entry that bears it.
 *
 * Open addressing with linear probing (Knuth, TAOCP vol. 3, §6.4, algorithms L and R) over an array
 * of entries that know their key: 24 to 48 bytes an entry, where a `Map` from key to entry takes
 * 65 to 170 (Bun 1.4.5), which was 3 MB of a node with 10,000 leases.
 *
 * Keys come from outside. Whoever knows the hash can make many that meet; so a probe that gets long
 * makes the table anew with another seed, under which keys that met by design part again. Pure.
 *
 * @module
 */
/** An entry of an index; its key never changes. */
export interface Keyed {
  readonly key: string;
}

/** Slots of an empty index; a power of two. */
const SLOTS_MIN = 16;
/** At this share of slots in use a hit takes 1.5 looks and a miss 2.5, on average. */
const LOAD_MAX = 0.5;
/** Looks after which the seed is taken for unlucky. The worst of a million honest keys takes 70. */
const PROBE_MAX = 256;

export class KeyIndex<Entry extends Keyed> {
  #slots: (Entry | undefined)[] = emptySlots(SLOTS_MIN);
  /** Of the entry in each slot, so that growing looks at no key. */
  #hashes = new Int32Array(SLOTS_MIN);
  #size = 0;
  #seed = 1;

  get size(): number {
    return this.#size;
  }

  get(key: string): Entry | undefined {
    return this.#slots[this.#find(key, hash(key, this.#seed))];
  }

  /** Puts `entry` in the place of the one with its key, if there is one. */
  set(entry: Entry): void {
    const code = hash(entry.key, this.#seed);
    const slot = this.#find(entry.key, code);
    const isNew = this.#slots[slot] === undefined;
    this.#slots[slot] = entry;
    if (!isNew) return;
    this.#hashes[slot] = code;
    this.#size += 1;
    if (this.#size > this.#slots.length * LOAD_MAX) this.#rebuild(this.#slots.length * 2);
    else if (((slot - code) & this.#mask) > PROBE_MAX) this.#reseed();
  }

  /** Whether there was an entry of `key`. */
  delete(key: string): boolean {
    let gap = this.#find(key, hash(key, this.#seed));
    const slots = this.#slots;
    const hashes = this.#hashes;
    if (slots[gap] === undefined) return false;
    this.#size -= 1;
    // Entries behind the gap move into it unless their probes begin behind it.
    for (let slot = (gap + 1) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const entry = slots[slot];
      if (entry === undefined) break;
      const code = hashes[slot]!;
      if (((slot - code) & this.#mask) < ((slot - gap) & this.#mask)) continue;
      slots[gap] = entry;
      hashes[gap] = code;
      gap = slot;
    }
    slots[gap] = undefined;
    return true;
  }

  get #mask(): number {
    return this.#slots.length - 1;
  }

  /** The slot of `key`, whose hash is `code`, or the free one that it would take. */
  #find(key: string, code: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = code & mask;
    for (let entry = slots[slot]; entry !== undefined; entry = slots[slot]) {
      if (this.#hashes[slot] === code && entry.key === key) break;
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #reseed(): void {
    this.#seed += 1;
    for (const [slot, entry] of this.#slots.entries()) {
      if (entry !== undefined) this.#hashes[slot] = hash(entry.key, this.#seed);
    }
    this.#rebuild(this.#slots.length);
  }

  #rebuild(slotCount: number): void {
    const [entries, codes] = [this.#slots, this.#hashes];
    const slots = emptySlots<Entry>(slotCount);
    const hashes = new Int32Array(slotCount);
    const mask = slotCount - 1;
    for (let from = 0; from < entries.length; from++) {
      const entry = entries[from];
      if (entry === undefined) continue;
      const code = codes[from]!;
      let slot = code & mask;
      while (slots[slot] !== undefined) slot = (slot + 1) & mask;
      slots[slot] = entry;
      hashes[slot] = code;
    }
    this.#slots = slots;
    this.#hashes = hashes;
  }
}

function emptySlots<Entry>(count: number): (Entry | undefined)[] {
  return new Array<Entry | undefined>(count).fill(undefined);
}

/** FNV-1a over UTF-16 code units, begun at `seed`, its bits mixed so that the low ones are good. */
function hash(key: string, seed: number): number {
  let value = Math.imul(seed, 0x9e3779b1) ^ 0x811c9dc5;
  for (let at = 0; at < key.length; at++) {
    value = Math.imul(value ^ key.charCodeAt(at), 0x01000193);
  }
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  return value ^ (value >>> 13);
}
