/**
 * What a spare and its source say to each other, as the bodies of frames.
 *
 *     spare --> source   follow {p: [term, index]}   "I have everything up to there"
 *                        fed {i: index}              "and up to there on my disk"
 *     source --> spare   feed {m: term, l: leader, a: applied}                  a beat
 *                        feed {m, l, a, p: [term, index], e: entries after p}   committed entries
 *                        unfed {r: reason, m: [[node, address], …]}   "ask somebody else": them
 *
 * A frame of the feed names nobody, so that one encoding serves every spare that needs it. Pure.
 *
 * @module
 */
import { decodeNodeId, type Index, type NodeId, type Term } from "../../../base/ids.ts";
import type { Entry, EntryId } from "../../raft/types.ts";
import { encodeValue, type PlainRecord } from "../codec/codec.ts";
import { decodeEntries, encodeEntries } from "../codec/entry-codec.ts";
import { asNodeId, FieldReader } from "../codec/fields.ts";
import { idFromWire, idToWire } from "../codec/message-codec.ts";
import { CLUSTER_PORT, formatHostPort, parseHostPort } from "../transport/host-port.ts";
import type { HostPort } from "../types.ts";

/** Voters, those of a joint membership too, and standbys; no more are named or taken note of. */
export const HINTS_MAX = 24;
const ADDRESS_LENGTH_MAX = 300;

/** What a spare says to its source. */
export type FeedRequest =
  | { readonly kind: "follow"; readonly position: EntryId }
  | { readonly kind: "fed"; readonly index: Index };

/**
 * Why a node feeds a spare no more. `no_source`: it is neither voter nor standby. `full`: it has as
 * many as it takes. `voter`: the asker has a vote, so it is the leader's to feed. `slow`: nothing
 * was confirmed for long. `diverged`: the asker holds another entry at its position.
 */
export type FeedRefusal = "no_source" | "full" | "voter" | "slow" | "diverged";

const REFUSALS = ["no_source", "full", "voter", "slow", "diverged"] as const;

/** A node that may feed spares, as another one says. */
export interface SourceHint {
  readonly node: NodeId;
  /** Undefined: its record is not known there. */
  readonly address: HostPort | undefined;
}

/** What a source says to a spare. */
export type FeedNews = FeedFrame | FeedEnd;

/** Ask somebody else. */
export interface FeedEnd {
  readonly kind: "unfed";
  readonly reason: FeedRefusal;
  /** Whom to ask; none when that is known anyhow. */
  readonly hints: readonly SourceHint[];
}

/** Where the source stands, and committed entries unless it is a beat. */
export interface FeedFrame {
  readonly kind: "feed";
  readonly term: Term;
  /** Undefined: the source knows of no leader that lives. Then there are no entries. */
  readonly leader: NodeId | undefined;
  /** Last entry that the source has applied. */
  readonly applied: Index;
  readonly batch: FeedBatch | undefined;
}

/** Entries that follow `previous`, at least one. */
export interface FeedBatch {
  readonly previous: EntryId;
  readonly entries: readonly Entry[];
}

/** `request` as the body of a frame. */
export function feedRequestToRecord(request: FeedRequest): PlainRecord {
  if (request.kind === "fed") return { k: "fed", i: request.index };
  return { k: "follow", p: idToWire(request.position) };
}

/** The request in `record`, or undefined when it is none or malformed. */
export function feedRequestFromRecord(record: PlainRecord): FeedRequest | undefined {
  const fields = new FieldReader(record);
  let request: FeedRequest | undefined;
  if (record["k"] === "follow") request = { kind: "follow", position: idFromWire(fields, "p") };
  else if (record["k"] === "fed") request = { kind: "fed", index: fields.index("i") };
  return fields.failed ? undefined : request;
}

/** `news` as the encoded body of frames to any number of spares. */
export function encodeFeedNews(news: FeedNews): Uint8Array {
  if (news.kind === "unfed") {
    const refusal = { k: "unfed", r: news.reason };
    if (news.hints.length === 0) return encodeValue(refusal);
    const named = news.hints.slice(0, HINTS_MAX).map(({ node, address }) => {
      return [node, address === undefined ? "" : formatHostPort(address)];
    });
    return encodeValue({ ...refusal, m: named });
  }
  const { term, leader, applied, batch } = news;
  const beat = { k: "feed", m: term, l: leader ?? 0, a: applied };
  if (batch === undefined) return encodeValue(beat);
  const { previous, entries } = batch;
  return encodeValue({ ...beat, p: idToWire(previous), e: encodeEntries(entries) });
}

/** The news in `record`, or undefined when it is none or malformed. */
export function feedNewsFromRecord(record: PlainRecord): FeedNews | undefined {
  const fields = new FieldReader(record);
  if (record["k"] === "unfed") {
    const reason = fields.choice("r", REFUSALS);
    const hints = fields.has("m") ? fields.list("m", asHint).slice(0, HINTS_MAX) : [];
    return fields.failed ? undefined : { kind: "unfed", reason, hints };
  }
  if (record["k"] !== "feed") return undefined;
  const leader = fields.counter("l");
  const head = { kind: "feed", term: fields.term("m"), applied: fields.index("a") } as const;
  const batch = fields.has("e") ? readBatch(fields) : undefined;
  if (fields.failed || (fields.has("e") && batch === undefined)) return undefined;
  return { ...head, leader: leader === 0 ? undefined : decodeNodeId(leader), batch };
}

function asHint(value: unknown): SourceHint | undefined {
  if (!Array.isArray(value)) return undefined;
  const [id, text] = value;
  const node = asNodeId(id);
  if (node === undefined || typeof text !== "string") return undefined;
  if (text.length > ADDRESS_LENGTH_MAX) return undefined;
  return { node, address: parseHostPort(text, CLUSTER_PORT) };
}

function readBatch(fields: FieldReader): FeedBatch | undefined {
  const previous = idFromWire(fields, "p");
  const entries = decodeEntries(fields.bytes("e"));
  if (entries === undefined || entries.length === 0) return undefined;
  const isGapless = entries.every((entry, i) => entry.index === previous.index + 1 + i);
  return isGapless ? { previous, entries } : undefined;
}
