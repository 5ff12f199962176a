/**
 * nf_tables messages that change or ask for something.
 *
 *          0       1       2       3
 *         +-------+-------+-------+-------+
 *      16 | family| 0     | resource id   |  nfgenmsg; the id in network order
 *      20 | attributes (NFTA_*), integers in network order
 *
 * Changes come in a transaction: a begin message, the changes, an end message, in one datagram;
 * all of them take effect at once or none does. Every message of it has one sequence number, so
 * that any answer is known to belong to it. Layout: include/uapi/linux/netfilter/nf_tables.h and
 * nfnetlink.h. Pure.
 *
 * @module
 */
import { assert } from "../../../base/assert.ts";
import type {
  ChainHook,
  ChainRef,
  FirewallRule,
  FirewallTable,
  TableRef,
} from "../../kernel-ports.ts";
import { putBytes, putNested, putNetU32, putText } from "../attribute.ts";
import {
  beginRequest,
  finishRequest,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_DUMP,
} from "../message.ts";
import { putExpressions } from "./expression.ts";

export const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;

const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_GETTABLE = 1;
const NFT_MSG_DELTABLE = 2;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_NEWRULE = 6;
const NFT_MSG_GETRULE = 7;
const NFT_MSG_DELRULE = 8;

const NFTA_TABLE_NAME = 1;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_POLICY = 5;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_HANDLE = 3;
const NFTA_RULE_EXPRESSIONS = 4;
const NFTA_RULE_USERDATA = 7;

const NF_ACCEPT = 1;
/** Type of the comment among a rule's user data: a convention of libnftnl, which `nft` shows. */
const NFTNL_UDATA_RULE_COMMENT = 0;
/** `nft` refuses to show longer ones; with its NUL. */
const COMMENT_SIZE_MAX_BYTES = 128;

const NFGENMSG_SIZE = 4;
const WORD_32 = 2 ** 32;

/** NFPROTO_* (include/uapi/linux/netfilter.h). */
export const TABLE_FAMILIES: Readonly<Record<TableRef["family"], number>> = {
  inet: 1,
  ip: 2,
  ip6: 10,
};
/** NF_INET_* (the same header). */
export const HOOK_NUMBERS: Readonly<Record<ChainHook["hook"], number>> = {
  forward: 2,
  postrouting: 4,
};

const encoder = new TextEncoder();

/** A transaction in a buffer: its length in bytes, and how many acknowledgements it will get. */
export interface Transaction {
  readonly length: number;
  readonly acknowledgements: number;
}

/** Writes the transaction after which the table is exactly as `table` says. */
export function encodeTableReplace(
  out: DataView,
  table: FirewallTable,
  sequence: number,
): Transaction {
  const chains = table.chains.flatMap((chain) => {
    const ref = { table, name: chain.name };
    return [newChain(ref, chain.hook), ...chain.rules.map((rule) => newRule(ref, rule))];
  });
  // Deleting needs a table to be there; making one that exists is no error.
  return encodeTransaction(out, sequence, [
    newTable(table),
    deleteTable(table),
    newTable(table),
    ...chains,
  ]);
}

/** Writes the transaction after which there is no table `table`. */
export function encodeTableDelete(out: DataView, table: TableRef, sequence: number): Transaction {
  return encodeTransaction(out, sequence, [newTable(table), deleteTable(table)]);
}

/** Writes the transaction that puts `rule` at the end of a chain that exists. */
export function encodeRuleAppend(
  out: DataView,
  { chain, rule }: { readonly chain: ChainRef; readonly rule: FirewallRule },
  sequence: number,
): Transaction {
  return encodeTransaction(out, sequence, [newRule(chain, rule)]);
}

/** Writes the transaction that deletes the rule with number `handle`. */
export function encodeRuleDelete(
  out: DataView,
  { chain, handle }: { readonly chain: ChainRef; readonly handle: number },
  sequence: number,
): Transaction {
  return encodeTransaction(out, sequence, [deleteRule(chain, handle)]);
}

/** Writes the request for one table. @returns its length in bytes. */
export function encodeTableGet(out: DataView, table: TableRef, sequence: number): number {
  return encodeMessage(out, { ...tableMessage(table), type: NFT_MSG_GETTABLE, flags: 0 }, sequence);
}

/** Writes the request for one chain. @returns its length in bytes. */
export function encodeChainGet(out: DataView, chain: ChainRef, sequence: number): number {
  const message = {
    type: NFT_MSG_GETCHAIN,
    flags: 0,
    family: chain.table.family,
    body: (view: DataView, at: number) => putChainRef(view, at, chain),
  };
  return encodeMessage(out, message, sequence);
}

/** Writes the request that lists the rules of one chain. @returns its length in bytes. */
export function encodeRuleDump(out: DataView, chain: ChainRef, sequence: number): number {
  const message = {
    type: NFT_MSG_GETRULE,
    flags: NLM_F_DUMP,
    family: chain.table.family,
    body: (view: DataView, at: number) => putRuleChain(view, at, chain),
  };
  return encodeMessage(out, message, sequence);
}

interface NftMessage {
  readonly type: number;
  readonly flags: number;
  readonly family: TableRef["family"];
  /** Writes the attributes from the given offset on; the result is their end. */
  readonly body: (out: DataView, offset: number) => number;
}

function newTable(table: TableRef): NftMessage {
  return { ...tableMessage(table), type: NFT_MSG_NEWTABLE, flags: NLM_F_CREATE | NLM_F_ACK };
}

function deleteTable(table: TableRef): NftMessage {
  return { ...tableMessage(table), type: NFT_MSG_DELTABLE, flags: NLM_F_ACK };
}

function tableMessage({ family, name }: TableRef): Pick<NftMessage, "body" | "family"> {
  return { family, body: (out, at) => putText(out, at, NFTA_TABLE_NAME, name) };
}

function newChain(chain: ChainRef, { hook, priority, type }: ChainHook): NftMessage {
  const putHook = (out: DataView, at: number) =>
    putNetU32(
      out,
      putNetU32(out, at, NFTA_HOOK_HOOKNUM, HOOK_NUMBERS[hook]),
      NFTA_HOOK_PRIORITY,
      priority,
    );
  return {
    type: NFT_MSG_NEWCHAIN,
    flags: NLM_F_CREATE | NLM_F_ACK,
    family: chain.table.family,
    body(out, at) {
      let end = putChainRef(out, at, chain);
      end = putNested(out, end, { type: NFTA_CHAIN_HOOK, body: (start) => putHook(out, start) });
      end = putNetU32(out, end, NFTA_CHAIN_POLICY, NF_ACCEPT);
      return putText(out, end, NFTA_CHAIN_TYPE, type);
    },
  };
}

function newRule(chain: ChainRef, rule: FirewallRule): NftMessage {
  const { table } = chain;
  return {
    type: NFT_MSG_NEWRULE,
    flags: NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK,
    family: table.family,
    body(out, at) {
      const end = putNested(out, putRuleChain(out, at, chain), {
        type: NFTA_RULE_EXPRESSIONS,
        body: (start) => putExpressions(out, start, { rule, table }),
      });
      return putBytes(out, end, NFTA_RULE_USERDATA, encodeComment(rule.comment));
    },
  };
}

function deleteRule(chain: ChainRef, handle: number): NftMessage {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(handle / WORD_32));
  view.setUint32(4, handle % WORD_32);
  return {
    type: NFT_MSG_DELRULE,
    flags: NLM_F_ACK,
    family: chain.table.family,
    body: (out, at) => putBytes(out, putRuleChain(out, at, chain), NFTA_RULE_HANDLE, bytes),
  };
}

function putChainRef(out: DataView, offset: number, { name, table }: ChainRef): number {
  return putText(out, putText(out, offset, NFTA_CHAIN_TABLE, table.name), NFTA_CHAIN_NAME, name);
}

function putRuleChain(out: DataView, offset: number, { name, table }: ChainRef): number {
  return putText(out, putText(out, offset, NFTA_RULE_TABLE, table.name), NFTA_RULE_CHAIN, name);
}

/** User data is type, length, value, again and again; a comment carries its NUL. */
function encodeComment(comment: string): Uint8Array {
  const text = encoder.encode(`${comment}\0`);
  assert(text.length <= COMMENT_SIZE_MAX_BYTES, "comment of a rule is too long");
  return Uint8Array.of(NFTNL_UDATA_RULE_COMMENT, text.length, ...text);
}

function encodeTransaction(
  out: DataView,
  sequence: number,
  changes: readonly NftMessage[],
): Transaction {
  let length = encodeBoundary(out, NFNL_MSG_BATCH_BEGIN, sequence);
  for (const change of changes) length += encodeMessage(rest(out, length), change, sequence);
  length += encodeBoundary(rest(out, length), NFNL_MSG_BATCH_END, sequence);
  return { length, acknowledgements: changes.length };
}

/** Message lengths are multiples of 4, as all attributes are padded. */
function rest(out: DataView, offset: number): DataView {
  return new DataView(out.buffer, out.byteOffset + offset, out.byteLength - offset);
}

function encodeMessage(out: DataView, message: NftMessage, sequence: number): number {
  const { body, family, flags } = message;
  const type = (NFNL_SUBSYS_NFTABLES << 8) | message.type;
  const start = beginRequest(out, { type, flags, sequence });
  out.setUint8(start, TABLE_FAMILIES[family]);
  out.setUint8(start + 1, 0); // NFNETLINK_V0
  out.setUint16(start + 2, 0);
  return finishRequest(out, body(out, start + NFGENMSG_SIZE));
}

function encodeBoundary(out: DataView, type: number, sequence: number): number {
  const start = beginRequest(out, { type, flags: 0, sequence });
  out.setUint16(start, 0); // AF_UNSPEC, NFNETLINK_V0
  out.setUint16(start + 2, NFNL_SUBSYS_NFTABLES);
  return finishRequest(out, start + NFGENMSG_SIZE);
}
