/**
 * The firewall's part of the difference.
 *
 * Our own table is made anew as a whole when anything in it differs. In chains of others we have
 * single rules, known as ours by the start of their comment; those are added and deleted one by
 * one. A chain of others that does not exist is not made: nobody's packets pass through it. Pure.
 *
 * @module
 */
import type {
  ActualChain,
  ActualFirewall,
  ActualRule,
  ChainHook,
  ChainRef,
  FirewallChain,
  FirewallQuery,
  FirewallTable,
  Operation,
  TableRef,
} from "../../host/kernel-ports.ts";
import type { DesiredFirewall } from "../backends/desired-state.ts";
import type { Ownership } from "../backends/ownership.ts";

/** What must be read to compare with `desired`. */
export function firewallQuery(desired: DesiredFirewall, ownership: Ownership): FirewallQuery {
  const table = ownership.firewallTable;
  const own = desired.table?.chains.map(({ name }) => ({ table, name })) ?? [];
  return { tables: [table], chains: [...own, ...ownership.guestChains] };
}

/** What is to be made, and what is to go. */
export function diffFirewall(
  desired: DesiredFirewall,
  actual: ActualFirewall,
  ownership: Ownership,
): { readonly wanted: readonly Operation[]; readonly stale: readonly Operation[] } {
  const wanted: Operation[] = [];
  const stale: Operation[] = [];
  const { table } = desired;
  if (table !== undefined) {
    if (!sameTable(table, actual)) wanted.push({ kind: "replace_table", table });
  } else if (actual.tables.some((it) => sameRef(it, ownership.firewallTable))) {
    stale.push({ kind: "delete_table", table: ownership.firewallTable });
  }
  for (const chain of ownership.guestChains) {
    const found = findChain(actual, chain);
    if (found === undefined) continue;
    const ours = found.rules.filter(({ comment }) => comment?.startsWith(ownership.ruleMark));
    const rules = desired.guests.filter((guest) => sameChain(guest.chain, chain));
    const missing = new Map(rules.flatMap((guest) => guest.rules).map((it) => [it.comment, it]));
    for (const rule of ours) {
      // The second of two equal rules is stale, too.
      const expected = rule.comment !== undefined && missing.delete(rule.comment);
      if (!expected) stale.push({ kind: "delete_rule", chain, rule });
    }
    for (const rule of missing.values()) wanted.push({ kind: "append_rule", chain, rule });
  }
  return { wanted, stale };
}

/** Whether a change of `table` (or of its chain `name`) can concern us. */
export function concernsFirewall(
  { chain, table }: { readonly table: TableRef; readonly chain: string | undefined },
  { firewallTable, guestChains }: Pick<Ownership, "firewallTable" | "guestChains">,
): boolean {
  if (sameRef(table, firewallTable)) return true;
  return guestChains.some(
    (guest) => sameRef(guest.table, table) && (chain === undefined || chain === guest.name),
  );
}

function sameTable(table: FirewallTable, actual: ActualFirewall): boolean {
  return table.chains.every((chain) => {
    const found = findChain(actual, { table, name: chain.name });
    return found !== undefined && sameHook(chain.hook, found) && sameRules(chain, found.rules);
  });
}

function sameHook(wanted: ChainHook, { hook }: ActualChain): boolean {
  return (
    hook?.type === wanted.type && hook.hook === wanted.hook && hook.priority === wanted.priority
  );
}

/** In order, since the first rule that matches decides. */
function sameRules({ rules }: FirewallChain, actual: readonly ActualRule[]): boolean {
  return (
    rules.length === actual.length &&
    rules.every(({ comment }, position) => comment === actual[position]?.comment)
  );
}

function findChain({ chains }: ActualFirewall, ref: ChainRef): ActualChain | undefined {
  return chains.find(({ chain }) => sameChain(chain, ref));
}

function sameChain(a: ChainRef, b: ChainRef): boolean {
  return a.name === b.name && sameRef(a.table, b.table);
}

function sameRef(a: TableRef, b: TableRef): boolean {
  return a.family === b.family && a.name === b.name;
}
