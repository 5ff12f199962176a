/**
 * What goes wrong between hosts, as a table, and that table as rules for the switch.
 *
 * A fault belongs to one direction between two hosts (or every other host). Each change renders
 * the whole table into one nftables transaction, so that there is no moment without rules.
 * Pure. The rules stand in the bridge family's forward hook: they see every frame from one port
 * of the switch to another, ARP too, and none between a host and the switch itself.
 *
 * @module
 */

/** The port of the switch that a host is plugged into: a link name in the switch's namespace. */
export type Port = string;

const TABLE = "overlay_lab";
/** Loss is drawn out of this many, so that a hundredth of a percent can be said. */
const LOSS_BASE = 10_000;

/** Cuts and losses by direction. */
export class FaultTable {
  readonly #cuts = new Set<string>();
  /** Loss in ten-thousandths, by direction. */
  readonly #losses = new Map<string, number>();

  /** Drops everything that goes from `source` to `target`. */
  cut(source: Port, target: Port): void {
    this.#cuts.add(direction(source, target));
  }

  /** Forgets the cut and the loss from `source` to `target`. */
  heal(source: Port, target: Port): void {
    this.#cuts.delete(direction(source, target));
    this.#losses.delete(direction(source, target));
  }

  healAll(): void {
    this.#cuts.clear();
    this.#losses.clear();
  }

  /** Drops `percent` (0 to 100) of the frames from `source` to `target`, at random. */
  lose(source: Port, target: Port, percent: number): void {
    if (!(percent >= 0 && percent <= 100)) throw new RangeError(`Loss must be 0 to 100 percent`);
    const share = Math.round((percent * LOSS_BASE) / 100);
    if (share === 0) this.#losses.delete(direction(source, target));
    else this.#losses.set(direction(source, target), share);
  }

  /** One nftables transaction that replaces whatever rules there were. */
  render(): string {
    const lines = [
      `add table bridge ${TABLE}`,
      `delete table bridge ${TABLE}`,
      `add table bridge ${TABLE}`,
      `add chain bridge ${TABLE} forward { type filter hook forward priority 0; policy accept; }`,
    ];
    const rule = (key: string, action: string) =>
      lines.push(`add rule bridge ${TABLE} forward ${matchOf(key)} ${action}`);
    for (const key of this.#cuts) rule(key, "counter drop");
    for (const [key, share] of this.#losses) {
      rule(key, `numgen random mod ${LOSS_BASE} < ${share} counter drop`);
    }
    return `${lines.join("\n")}\n`;
  }
}

function direction(source: Port, target: Port): string {
  return `${source}>${target}`;
}

function matchOf(key: string): string {
  const [source, target] = key.split(">");
  return `iifname "${source}" oifname "${target}"`;
}
