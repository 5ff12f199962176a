/**
 * The firewall part of the `Kernel` port, on nf_tables.
 *
 * A kernel may have no nf_tables, or no right to it for us: then nothing is there as far as
 * looking goes, and changing fails with the kernel's words.
 *
 * @module
 */
import { unreachable } from "../../../base/assert.ts";
import { HostError } from "../../../base/host-error.ts";
import type {
  ActualChain,
  ActualFirewall,
  ChainRef,
  FirewallQuery,
  Operation,
  TableRef,
} from "../../kernel-ports.ts";
import { openNetlinkSocket } from "../../sys/netlink-socket.ts";
import { createExchange, type Exchange } from "../exchange.ts";
import { decodeChainHook, decodeRule } from "./decode.ts";
import {
  encodeChainGet,
  encodeRuleAppend,
  encodeRuleDelete,
  encodeRuleDump,
  encodeTableDelete,
  encodeTableGet,
  encodeTableReplace,
} from "./request.ts";

/** The operations that go to nf_tables. */
export type FirewallOperation = Extract<
  Operation,
  { kind: "replace_table" | "delete_table" | "append_rule" | "delete_rule" }
>;

/** What is said of a firewall that nobody asked about. */
export const EMPTY_FIREWALL: ActualFirewall = { tables: [], chains: [] };

const GONE: ReadonlySet<string> = new Set(["ENOENT"]);
/** How the kernel says that a table or chain is not there, or nf_tables itself. */
const ABSENT: ReadonlySet<string> = new Set([
  ...GONE,
  "EOPNOTSUPP",
  "EPROTONOSUPPORT",
  "EAFNOSUPPORT",
  "EINVAL",
]);

/** Opened on first use: most processes that look at the kernel never ask for its firewall. */
export class Firewall {
  #exchange: Exchange | undefined;

  /** What there is of what `query` names. Throws `HostError`. */
  read({ chains, tables }: FirewallQuery): ActualFirewall {
    return {
      tables: tables.filter((table) => this.#hasTable(table)),
      chains: chains.flatMap((chain) => this.#readChain(chain) ?? []),
    };
  }

  /** Throws `HostError` with the kernel's words. */
  apply(operation: FirewallOperation): void {
    const exchange = this.#open();
    switch (operation.kind) {
      case "replace_table": {
        const { table } = operation;
        const purpose = { operation: "set up firewall table", object: tableText(table) };
        exchange.transact(purpose, (out, sequence) => encodeTableReplace(out, table, sequence));
        break;
      }
      case "delete_table": {
        const { table } = operation;
        const purpose = { operation: "delete firewall table", object: tableText(table) };
        exchange.transact(purpose, (out, sequence) => encodeTableDelete(out, table, sequence));
        break;
      }
      case "append_rule": {
        const purpose = { operation: "add firewall rule to", object: chainText(operation.chain) };
        exchange.transact(purpose, (out, sequence) => encodeRuleAppend(out, operation, sequence));
        break;
      }
      case "delete_rule": {
        const { chain, rule } = operation;
        const change = { chain, handle: rule.handle };
        const purpose = { operation: "delete firewall rule of", object: chainText(chain) };
        unlessAbsent(GONE, () => {
          exchange.transact(purpose, (out, sequence) => encodeRuleDelete(out, change, sequence));
        });
        break;
      }
      default:
        unreachable(operation);
    }
  }

  close(): void {
    this.#exchange?.close();
  }

  #open(): Exchange {
    this.#exchange ??= createExchange(openNetlinkSocket("netfilter"));
    return this.#exchange;
  }

  #hasTable(table: TableRef): boolean {
    const purpose = { operation: "look for firewall table", object: tableText(table) };
    const found = unlessAbsent(ABSENT, () =>
      this.#open().query(
        purpose,
        (out, sequence) => encodeTableGet(out, table, sequence),
        () => true,
      ),
    );
    return found ?? false;
  }

  #readChain(chain: ChainRef): ActualChain | undefined {
    const purpose = { operation: "read firewall chain", object: chainText(chain) };
    return unlessAbsent(ABSENT, () => {
      const { hook } = this.#open().query(
        purpose,
        (out, sequence) => encodeChainGet(out, chain, sequence),
        decodeChainHook,
      );
      const rules = this.#open().dump(
        purpose,
        (out, sequence) => encodeRuleDump(out, chain, sequence),
        decodeRule,
      );
      return { chain, hook, rules };
    });
  }
}

/** What `action` gives, or undefined when it fails for one of `reasons`. */
function unlessAbsent<T>(reasons: ReadonlySet<string>, action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (error instanceof HostError && reasons.has(error.errno ?? "")) return undefined;
    throw error;
  }
}

function tableText({ family, name }: TableRef): string {
  return `${family} ${name}`;
}

function chainText({ name, table }: ChainRef): string {
  return `${tableText(table)} ${name}`;
}
