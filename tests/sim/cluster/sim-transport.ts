/**
 * The way out of one run of a node: messages, calls and snapshots over the simulated network.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import { err, type Result } from "../../../src/base/result.ts";
import { decodeRecord, type PlainRecord } from "../../../src/control/cluster/codec/codec.ts";
import type {
  CallFailure,
  PeerReceiver,
  SnapshotTransfer,
  Transport,
} from "../../../src/control/cluster/transport/peer-port.ts";
import type { PeerMessage } from "../../../src/control/raft/types.ts";
import type { Coverage } from "./coverage.ts";
import type { SimNetwork } from "./sim-network.ts";
import type { SimProcess } from "./sim-process.ts";

/** A sender that gets no answer to a snapshot gives it up after this. */
const SNAPSHOT_STALL_MS = 10_000;
/** Slices of one chunk on the wire: a connection can break between any two. */
const SLICES_PER_CHUNK = 3;

/** What was asked of another run has no answer. */
const LOST = Symbol("lost");
const UNREACHABLE = err({ kind: "unreachable" } as const);
const NOT_SENT = err({ kind: "not_sent" } as const);

type Call = Parameters<Transport["call"]>[0];
type CallResult = Result<PlainRecord, CallFailure>;

export interface SimTransportParts {
  readonly process: SimProcess;
  readonly network: SimNetwork;
  readonly coverage: Coverage;
  /** Whether this run is of a version that does not know the newest fields of messages. */
  readonly isOldVersion: boolean;
  /** Sees every message before it leaves. */
  readonly sent: (message: PeerMessage) => void;
}

/** The `Transport` of one run. */
export function createSimTransport(parts: SimTransportParts): Transport {
  const { process, network } = parts;
  return {
    attach(receiver) {
      const { isOldVersion, coverage } = parts;
      const receive: typeof receiver.receive = (message) =>
        receiver.receive(isOldVersion ? withoutNewFields(message, coverage) : message);
      network.attach(process, {
        receive,
        stageSnapshot: (message) => receiver.stageSnapshot?.(message) ?? Promise.resolve(undefined),
        receiveSnapshot: (message, body) => receiver.receiveSnapshot(message, body),
        unreachable: (node) => receiver.unreachable(node),
        closed: (node) => receiver.closed(node),
        expelled: () => receiver.expelled(),
        answer: (from, method, body) => receiver.answer(from, method, body),
        asked: (from, record) => receiver.asked(from, record),
        told: (from, record, sizeBytes) => {
          if (record["e"] !== undefined) coverage.hit("sometimes.spare-fed");
          receiver.told(from, record, sizeBytes);
        },
      });
    },
    send: (message) => {
      if (!process.touch()) return;
      parts.sent(message);
      network.send(parts.isOldVersion ? withoutNewFields(message, parts.coverage) : message);
    },
    sendSnapshot: (transfer) => sendSnapshot(parts, transfer),
    call: (call) => makeCall(parts, call),
    ask: (source, record) =>
      talk(parts, source, (receiver) => receiver.asked(process.node, network.copyRecord(record))),
    tell: (spare, body) => {
      const record = decodeRecord(body.slice()) ?? {};
      return talk(parts, spare, (receiver) => receiver.told(process.node, record, body.length));
    },
    part: (source) => {
      talk(parts, source, (receiver) => receiver.closed(process.node));
    },
  };
}

/** A frame of the feed: it may be lost, or overtaken like everything else here. */
function talk(
  { process, network }: SimTransportParts,
  to: NodeId,
  arrive: (receiver: PeerReceiver) => void,
): boolean {
  const target = network.endpoint(to);
  if (!process.touch() || target === undefined) return false;
  const from = process.node;
  const delayMs = network.arrivalDelayMs(from, to);
  if (delayMs === undefined) return true;
  const connection = network.connection(from, to);
  const run = () => {
    const isThere = network.endpoint(to) === target && network.connection(from, to) === connection;
    if (isThere && network.admits(from, to)) arrive(target.receiver);
  };
  target.process.after(delayMs, "message", run, `feed between ${from} and ${to}`);
  return true;
}

/** Chunk by chunk, in slices between which a connection can break; what is stored is not sent. */
async function sendSnapshot(
  parts: SimTransportParts,
  transfer: SnapshotTransfer,
): Promise<boolean> {
  const { process, network, coverage } = parts;
  const { message } = transfer;
  const { from, to } = message;
  if (!process.touch()) return never();
  parts.sent(message);
  const connection = network.connection(from, to);
  const target = network.endpoint(to);
  const isBroken = () =>
    network.connection(from, to) !== connection || network.endpoint(to) !== target;
  if (target === undefined) return false;
  const copy = network.copyMessage(message);
  const { receiver } = target;
  const ask = async <Value>(run: () => Promise<Value>) => atTarget(parts, target.process, run);
  const stage = await ask(async () => receiver.stageSnapshot?.(copy));
  if (stage === LOST) return false;
  if (stage !== undefined && stage.sizeBytes > 0) coverage.hit("sometimes.snapshot-resumed");
  const body: Uint8Array[] = [];
  let offset = 0;
  for await (const chunk of transfer.body) {
    const at = offset;
    offset += chunk.length;
    if (stage !== undefined && stage.sizeBytes >= offset) continue;
    for (let slice = 0; slice < SLICES_PER_CHUNK; slice++) {
      await pause(process, network.transferMs(from, to, chunk.length / SLICES_PER_CHUNK));
      if (network.isCut(from, to)) {
        coverage.hit("net.snapshot-stalled");
        await pause(process, SNAPSHOT_STALL_MS);
        return false;
      }
      if (!isBroken()) continue;
      coverage.hit("net.reset-during-snapshot");
      return false;
    }
    const bytes = chunk.slice();
    if (stage === undefined) body.push(bytes);
    else if ((await ask(() => stage.append(at, bytes).catch(() => 0))) !== offset) return false;
  }
  const decided = await ask(() => receiver.receiveSnapshot(copy, stage ?? body));
  return decided !== LOST && !isBroken();
}

/** Has `run` done by the run at the other end; `LOST` when its answer does not come. */
function atTarget<Value>(
  { process, network }: SimTransportParts,
  target: SimProcess,
  run: () => Promise<Value>,
): Promise<Value | typeof LOST> {
  return new Promise((resolve) => {
    if (!process.touch()) return;
    const tell = (delayMs: number, value: Value | typeof LOST) =>
      process.after(delayMs, "message", () => resolve(value), "part of a snapshot");
    // A machine that lost its power tells nobody.
    const timeout = tell(SNAPSHOT_STALL_MS, LOST);
    const release = network.awaitFrom(target, () => tell(5, LOST));
    const serve = async () => {
      const value = await run();
      if (!target.touch()) return;
      release();
      timeout.run = undefined;
      tell(network.transferMs(target.node, process.node, 0), value);
    };
    target.after(0, "message", () => void serve(), "part of a snapshot");
  });
}

function makeCall(parts: SimTransportParts, call: Call): Promise<CallResult> {
  const { process, network } = parts;
  const { promise, resolve } = Promise.withResolvers<CallResult>();
  if (!process.touch()) return promise;
  const from = process.node;
  const { target: to, method, timeoutMs } = call;
  const settle = (result: CallResult) => {
    timeout.run = undefined;
    resolve(result);
  };
  const settleAfter = (delayMs: number, result: CallResult) =>
    process.after(delayMs, "call", () => settle(result), `answer of ${to} to ${method}`);
  const timeout = settleAfter(timeoutMs, err({ kind: "timeout" }));
  const request = network.copyRecord(call.body);
  const delayMs = network.arrivalDelayMs(from, to);
  const endpoint = network.endpoint(to);
  if (endpoint === undefined || delayMs === undefined) {
    // Without a connection the caller knows that nothing was said; with a lost one it does not.
    const isKnown = endpoint === undefined && network.random.chance(0.5);
    if (isKnown) settleAfter(0, NOT_SENT);
    else if (network.random.chance(0.5)) settleAfter(5, UNREACHABLE);
    return promise;
  }
  const callee = endpoint.process;
  const release = network.awaitFrom(callee, () => settleAfter(5, UNREACHABLE));
  const serve = async () => {
    if (!network.admits(from, to)) return;
    const answer = await endpoint.receiver.answer(from, method, request);
    const backMs = network.arrivalDelayMs(to, from);
    if (!callee.touch() || backMs === undefined) return;
    release();
    const result: CallResult = answer.ok
      ? { ok: true, value: network.copyRecord(answer.value) }
      : err({ kind: "refused", ...answer.error });
    settleAfter(backMs, result);
  };
  callee.after(delayMs, "call", () => void serve(), `${method} from ${from}`);
  return promise;
}

/** As a version before them sends it, and as it understands what a newer one sends. */
function withoutNewFields(message: PeerMessage, coverage: Coverage): PeerMessage {
  if (message.kind !== "vote_response" || message.commit === undefined) return message;
  coverage.hit("version.old");
  const { commit: _, ...rest } = message;
  return rest;
}

function pause(process: SimProcess, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    if (process.touch()) process.after(delayMs, "message", resolve, "part of a snapshot");
  });
}

/** For a run that has ended: nothing it waits for ever comes. */
function never(): Promise<never> {
  return new Promise(() => undefined);
}
