/**
 * What nf_tables answers and tells: tables, chains, rules, changes. Pure.
 *
 * Only what the reconciler compares is decoded: where a chain hangs, and the number and the
 * comment of each rule. What a rule does is not read back; its maker says so in the comment.
 *
 * @module
 */
import type {
  ActualChain,
  ActualRule,
  ChainHook,
  KernelChange,
  TableRef,
} from "../../kernel-ports.ts";
import { decodeAttributes, decodeNetU32, decodeText } from "../attribute.ts";
import type { Message } from "../message.ts";
import { HOOK_NUMBERS, NFNL_SUBSYS_NFTABLES, TABLE_FAMILIES } from "./request.ts";

const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_DELTABLE = 2;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_DELCHAIN = 5;
const NFT_MSG_NEWRULE = 6;
const NFT_MSG_DELRULE = 8;

/** NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and NFTA_RULE_TABLE alike. */
const NFTA_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_HANDLE = 3;
const NFTA_RULE_USERDATA = 7;
const NFTNL_UDATA_RULE_COMMENT = 0;

const NFGENMSG_SIZE = 4;
const WORD_32 = 2 ** 32;

/** The group that gets every change of every table (include/uapi/linux/netfilter/nfnetlink.h). */
export const NFNLGRP_NFTABLES = 7;

/** The hook of the chain in a body, as "not hung in" when it is one that we do not use. */
export function decodeChainHook(
  body: Uint8Array,
): { readonly hook: ActualChain["hook"] } | undefined {
  const attributes = decodeBody(body);
  if (attributes === undefined) return undefined;
  const place = decodeAttributes(attributes.get(NFTA_CHAIN_HOOK) ?? new Uint8Array());
  const number = decodeNetU32(place?.get(NFTA_HOOK_HOOKNUM));
  const priority = decodeNetU32(place?.get(NFTA_HOOK_PRIORITY));
  const type = decodeText(attributes.get(NFTA_CHAIN_TYPE));
  const hook = decodeHookName(number);
  if (hook === undefined || priority === undefined) return { hook: undefined };
  if (type !== "filter" && type !== "nat") return { hook: undefined };
  return { hook: { type, hook, priority: priority | 0 } }; // Priorities are signed.
}

/** The rule in a body, or undefined when it makes no sense. */
export function decodeRule(body: Uint8Array): ActualRule | undefined {
  const attributes = decodeBody(body);
  const bytes = attributes?.get(NFTA_RULE_HANDLE);
  const high = decodeNetU32(bytes);
  const low = decodeNetU32(bytes?.subarray(4));
  if (high === undefined || low === undefined) return undefined;
  const handle = high * WORD_32 + low;
  if (!Number.isSafeInteger(handle)) return undefined;
  return { handle, comment: decodeComment(attributes?.get(NFTA_RULE_USERDATA)) };
}

/** The change that an event tells of, or undefined for one that is not of tables with addresses. */
export function decodeFirewallChange({ body, type }: Message): KernelChange | undefined {
  if (type >> 8 !== NFNL_SUBSYS_NFTABLES) return undefined;
  const attributes = decodeBody(body);
  const family = decodeTableFamily(body[0]);
  const name = decodeText(attributes?.get(NFTA_TABLE));
  if (attributes === undefined || family === undefined || name === undefined) return undefined;
  const table = { family, name };
  switch (type & 0xff) {
    case NFT_MSG_NEWTABLE:
    case NFT_MSG_DELTABLE:
      return { kind: "firewall", table, chain: undefined };
    case NFT_MSG_NEWCHAIN:
    case NFT_MSG_DELCHAIN:
      return { kind: "firewall", table, chain: decodeText(attributes.get(NFTA_CHAIN_NAME)) };
    case NFT_MSG_NEWRULE:
    case NFT_MSG_DELRULE:
      return { kind: "firewall", table, chain: decodeText(attributes.get(NFTA_RULE_CHAIN)) };
    default:
      return undefined;
  }
}

function decodeBody(body: Uint8Array) {
  return body.length < NFGENMSG_SIZE ? undefined : decodeAttributes(body.subarray(NFGENMSG_SIZE));
}

function decodeHookName(number: number | undefined): ChainHook["hook"] | undefined {
  if (number === HOOK_NUMBERS.forward) return "forward";
  return number === HOOK_NUMBERS.postrouting ? "postrouting" : undefined;
}

function decodeTableFamily(number: number | undefined): TableRef["family"] | undefined {
  if (number === TABLE_FAMILIES.inet) return "inet";
  if (number === TABLE_FAMILIES.ip) return "ip";
  return number === TABLE_FAMILIES.ip6 ? "ip6" : undefined;
}

/** User data is whatever its maker likes; a comment only where it has libnftnl's layout. */
function decodeComment(data: Uint8Array | undefined): string | undefined {
  let offset = 0;
  while (data !== undefined && offset + 2 <= data.length) {
    const length = data[offset + 1]!;
    const value = data.subarray(offset + 2, offset + 2 + length);
    if (value.length < length) return undefined;
    if (data[offset] === NFTNL_UDATA_RULE_COMMENT) return decodeText(value);
    offset += 2 + length;
  }
  return undefined;
}
