/**
 * nf_tables expressions: the little programs that rules are made of.
 *
 * A rule loads a part of the packet into a register, compares it, and goes on or not:
 *
 *     [ meta load nfproto => reg 1 ] [ cmp eq reg 1 ipv4 ]
 *     [ payload load 2b @ network header + 12 => reg 1 ] [ cmp eq reg 1 0a00 ]
 *     [ masq flags fully-random ]
 *
 * Each is an attribute NFTA_LIST_ELEM with a name and nested parameters. Parameters are in
 * network byte order; register contents are as the packet has them, and marks in host order.
 * Layout: include/uapi/linux/netfilter/nf_tables.h. Pure.
 *
 * @module
 */
import {
  addressBytes,
  addressFamily,
  decodeAddress,
  type Family,
  prefixAddress,
  prefixLength,
  prefixOf,
} from "../../../base/address.ts";
import { unreachable } from "../../../base/assert.ts";
import type { FirewallMatch, FirewallRule, TableRef } from "../../kernel-ports.ts";
import { putBytes, putNested, putNetU32, putText } from "../attribute.ts";

const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;

const NFTA_META_DREG = 1;
const NFTA_META_KEY = 2;
const NFT_META_MARK = 3;
const NFT_META_NFPROTO = 15;

const NFTA_PAYLOAD_DREG = 1;
const NFTA_PAYLOAD_BASE = 2;
const NFTA_PAYLOAD_OFFSET = 3;
const NFTA_PAYLOAD_LEN = 4;
const NFT_PAYLOAD_NETWORK_HEADER = 1;

const NFTA_BITWISE_SREG = 1;
const NFTA_BITWISE_DREG = 2;
const NFTA_BITWISE_LEN = 3;
const NFTA_BITWISE_MASK = 4;
const NFTA_BITWISE_XOR = 5;

const NFTA_CMP_SREG = 1;
const NFTA_CMP_OP = 2;
const NFTA_CMP_DATA = 3;
const NFT_CMP_EQ = 0;
const NFT_CMP_NEQ = 1;

const NFTA_IMMEDIATE_DREG = 1;
const NFTA_IMMEDIATE_DATA = 2;
const NFTA_MASQ_FLAGS = 1;
const NF_NAT_RANGE_PROTO_RANDOM_FULLY = 1 << 4;

const NFT_REG_VERDICT = 0;
/** Sixteen bytes: room for an IPv6 address. */
const NFT_REG_1 = 1;
const NF_ACCEPT = 1;
const NFT_RETURN = -5;

const NFPROTO: Readonly<Record<Family, number>> = { 4: 2, 6: 10 };

/** Where the two addresses stand in the headers of RFC 791 §3.1 and RFC 8200 §3. */
const ADDRESS_OFFSETS: Readonly<Record<Family, Readonly<Record<"source" | "target", number>>>> = {
  4: { source: 12, target: 16 },
  6: { source: 8, target: 24 },
};

/** Writes the expressions of `rule` one after the other; the result is where the last ends. */
export function putExpressions(
  out: DataView,
  offset: number,
  { rule, table }: { readonly rule: FirewallRule; readonly table: TableRef },
): number {
  let end = offset;
  const family = ruleFamily(rule);
  // Only a table of both families has to ask which one a packet is of.
  if (family !== undefined && table.family === "inet") {
    end = putMeta(out, end, NFT_META_NFPROTO);
    end = putCompare(out, end, { op: NFT_CMP_EQ, value: Uint8Array.of(NFPROTO[family]) });
  }
  for (const match of rule.matches) end = putMatch(out, end, match);
  end = putExpression(out, end, { name: "counter", data: (at) => at });
  return putVerdict(out, end, rule.verdict);
}

function ruleFamily(rule: FirewallRule): Family | undefined {
  for (const match of rule.matches) {
    if (match.kind !== "mark") return addressFamily(match.prefix);
  }
  return undefined;
}

function putMatch(out: DataView, offset: number, match: FirewallMatch): number {
  if (match.kind === "mark") {
    const bits = new Uint8Array(4);
    new DataView(bits.buffer).setUint32(0, match.bits, true);
    const loaded = putMeta(out, offset, NFT_META_MARK);
    return putCompare(out, putMask(out, loaded, bits), { op: NFT_CMP_EQ, value: bits });
  }
  const { kind, negate, prefix } = match;
  const length = prefixLength(prefix);
  // Every address of the family, which has been asked for already.
  if (length === 0) return offset;
  const address = addressBytes(prefixAddress(prefix));
  // As `nft` and `iptables` write it, or they could not show it: whole bytes are compared as they
  // are, a prefix that ends inside a byte under a mask over the whole address.
  const whole = length % 8 === 0;
  const value = whole ? address.subarray(0, length / 8) : address;
  let end = putPayload(out, offset, {
    at: ADDRESS_OFFSETS[addressFamily(prefix)][kind],
    length: value.length,
  });
  if (!whole) {
    const ones = decodeAddress(new Uint8Array(address.length).fill(0xff));
    end = putMask(out, end, addressBytes(prefixAddress(prefixOf(ones, length))));
  }
  return putCompare(out, end, { op: negate ? NFT_CMP_NEQ : NFT_CMP_EQ, value });
}

function putVerdict(out: DataView, offset: number, verdict: FirewallRule["verdict"]): number {
  switch (verdict) {
    case "accept":
      return putImmediate(out, offset, NF_ACCEPT);
    case "return":
      return putImmediate(out, offset, NFT_RETURN);
    case "masquerade":
      return putExpression(out, offset, {
        name: "masq",
        data: (at) => putNetU32(out, at, NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY),
      });
    default:
      return unreachable(verdict);
  }
}

interface Expression {
  readonly name: string;
  /** Writes the parameters from the given offset on; the result is their end. */
  readonly data: (offset: number) => number;
}

function putExpression(out: DataView, offset: number, { data, name }: Expression): number {
  return putNested(out, offset, {
    type: NFTA_LIST_ELEM,
    body: (at) =>
      putNested(out, putText(out, at, NFTA_EXPR_NAME, name), { type: NFTA_EXPR_DATA, body: data }),
  });
}

function putMeta(out: DataView, offset: number, key: number): number {
  return putExpression(out, offset, {
    name: "meta",
    data: (at) => putNetU32(out, putNetU32(out, at, NFTA_META_KEY, key), NFTA_META_DREG, NFT_REG_1),
  });
}

function putPayload(
  out: DataView,
  offset: number,
  field: { readonly at: number; readonly length: number },
): number {
  return putExpression(out, offset, {
    name: "payload",
    data: (at) => {
      let end = putNetU32(out, at, NFTA_PAYLOAD_DREG, NFT_REG_1);
      end = putNetU32(out, end, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
      end = putNetU32(out, end, NFTA_PAYLOAD_OFFSET, field.at);
      return putNetU32(out, end, NFTA_PAYLOAD_LEN, field.length);
    },
  });
}

/** reg 1 = (reg 1 & mask) ^ 0. */
function putMask(out: DataView, offset: number, mask: Uint8Array): number {
  return putExpression(out, offset, {
    name: "bitwise",
    data: (at) => {
      let end = putNetU32(out, at, NFTA_BITWISE_SREG, NFT_REG_1);
      end = putNetU32(out, end, NFTA_BITWISE_DREG, NFT_REG_1);
      end = putNetU32(out, end, NFTA_BITWISE_LEN, mask.length);
      end = putData(out, end, { type: NFTA_BITWISE_MASK, value: mask });
      return putData(out, end, { type: NFTA_BITWISE_XOR, value: new Uint8Array(mask.length) });
    },
  });
}

function putCompare(
  out: DataView,
  offset: number,
  { op, value }: { readonly op: number; readonly value: Uint8Array },
): number {
  return putExpression(out, offset, {
    name: "cmp",
    data: (at) => {
      let end = putNetU32(out, at, NFTA_CMP_SREG, NFT_REG_1);
      end = putNetU32(out, end, NFTA_CMP_OP, op);
      return putData(out, end, { type: NFTA_CMP_DATA, value });
    },
  });
}

function putImmediate(out: DataView, offset: number, code: number): number {
  const verdict = (at: number) => putNetU32(out, at, NFTA_VERDICT_CODE, code);
  const data = (at: number) => putNested(out, at, { type: NFTA_DATA_VERDICT, body: verdict });
  return putExpression(out, offset, {
    name: "immediate",
    data: (at) =>
      putNested(out, putNetU32(out, at, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT), {
        type: NFTA_IMMEDIATE_DATA,
        body: data,
      }),
  });
}

function putData(
  out: DataView,
  offset: number,
  { type, value }: { readonly type: number; readonly value: Uint8Array },
): number {
  return putNested(out, offset, {
    type,
    body: (at) => putBytes(out, at, NFTA_DATA_VALUE, value),
  });
}
