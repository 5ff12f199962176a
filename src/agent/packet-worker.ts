/**
 * The packet loop's thread: opens the ports on given descriptors and turns the loop for ever.
 *
 * Entry point of a Worker, and the only place that waits. It blocks in poll(2) with nothing to do,
 * takes new tables between batches, and ends when the control words say so. The event loop of this
 * thread never runs meanwhile, and need not.
 *
 * @module
 */
import {
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  workerData,
} from "node:worker_threads";
import { assert } from "../base/assert.ts";
import { type Arena, createArena, PORT_LIMITS } from "../dataplane/forward/arena.ts";
import { PacketLoop, SIDE, TURN } from "../dataplane/forward/packet-loop.ts";
import { MailRing } from "../dataplane/probe/mail-ring.ts";
import type { AeadEngine } from "../dataplane/seal/aead.ts";
import type { SharedKeyPair } from "../dataplane/seal/exchange-key.ts";
import { KEPT_STATE_SIZE, KeptState, KeptWindows } from "../dataplane/seal/kept-state.ts";
import { createNodeAead } from "../dataplane/seal/node-aead.ts";
import type { LoopClock, UdpPort } from "../host/packet-ports.ts";
import { clearEvent, POLLIN, POLLOUT, PollSet } from "../host/sys/descriptor.ts";
import { openLibcryptoAead } from "../host/sys/libcrypto.ts";
import { memoryAt } from "../host/sys/memory.ts";
import { setThreadRealtime } from "../host/sys/priority.ts";
import { TunDevicePort } from "../host/tun/tun-port.ts";
import { LoopPriority } from "./loop-priority.ts";
import { LoopSockets, POLL } from "./loop-sockets.ts";
import {
  CONTROL,
  type TableMessage,
  type WorkerReport,
  type WorkerStart,
} from "./packet-messages.ts";
import { openPacketWarmup } from "./packet-warmup.ts";

/** How long to leave a TUN alone that fails without being gone: a link that is being changed. */
const STALL_MS = 100;
const WAIT_FOR_EVER = -1;
/** An agent with many peers is busy at first on the other core, and on this one with compiling. */
const WARMUP_DELAY_MS = 500;
const CLOCK: LoopClock = { nowMs: () => performance.now() };

/** Turns the loop until it is told to stop or the TUN is lost; then the error number, else 0. */
function run(start: WorkerStart, report: (message: WorkerReport) => void): number {
  const control = new Int32Array(start.control);
  const questions = new MailRing(start.questions);
  const arena = createArena();
  // The host's own libcrypto where there is one that works.
  const aead = openLibcryptoAead(arena.memory) ?? createNodeAead(arena.memory);
  const kept = start.keptAddress === undefined ? undefined : openKept(start.keptAddress);
  const sockets = new LoopSockets(start, arena.memory);
  const loop = openLoop(start, { arena, aead, questions, kept, udp: sockets.udp });
  const priority = new LoopPriority(CLOCK, setThreadRealtime);
  let warmup = openPacketWarmup();
  const warmupAtMs = CLOCK.nowMs() + WARMUP_DELAY_MS;
  report({ kind: "ready", nowMs: CLOCK.nowMs(), aead: aead.name });
  // Packets that wait from the time of an earlier process would find no table.
  waitForTable(start.eventFd, control);
  let ready: number = SIDE.BOTH;
  while (Atomics.load(control, CONTROL.STOP) === 0) {
    if (Atomics.load(control, CONTROL.PUBLISHED) !== Atomics.load(control, CONTROL.TAKEN)) {
      takeTables(loop, start.tables, { control, kept, sockets });
    }
    if (!questions.isEmpty) loop.ask();
    const bytesBefore = loop.byteCount;
    const turn = loop.turn(ready);
    if (turn === TURN.LOST) break;
    const movedBytes = loop.byteCount - bytesBefore;
    const isHeld = turn === TURN.BLOCKED || turn === TURN.STALLED;
    ready = loop.unfinished;
    if (ready !== 0 && !isHeld) {
      priority.note(movedBytes, 0);
      continue;
    }
    const isWarmupDue = turn === TURN.IDLE && CLOCK.nowMs() >= warmupAtMs;
    if (isWarmupDue && warmup?.step() === false) {
      warmup = undefined;
      // Nothing is collected here later: the loop allocates next to nothing.
      Bun.gc(true);
    }
    const startMs = CLOCK.nowMs();
    const idleMs = warmup === undefined ? WAIT_FOR_EVER : Math.max(0, warmupAtMs - startMs);
    ready = wait(sockets, turn, Math.ceil(idleMs));
    priority.note(movedBytes, CLOCK.nowMs() - startMs);
    if (sockets.poll.events(POLL.EVENT) !== 0) clearEvent(start.eventFd);
  }
  warmup?.close();
  loop.close();
  return loop.lostErrno;
}

/** Waits until the first table is there, or the end. */
function waitForTable(eventFd: number, control: Int32Array): void {
  const poll = new PollSet([eventFd]);
  while (
    Atomics.load(control, CONTROL.STOP) === 0 &&
    Atomics.load(control, CONTROL.PUBLISHED) === 0
  ) {
    poll.wait(WAIT_FOR_EVER);
    clearEvent(eventFd);
  }
}

/** Waits for what the last turn lacked, `idleMs` at most; the SIDE bits that are ready then. */
function wait({ poll, udpCount }: LoopSockets, turn: number, idleMs: number): number {
  const isBlocked = turn === TURN.BLOCKED;
  const isStalled = turn === TURN.STALLED;
  poll.watch(POLL.TUN, isBlocked || isStalled ? 0 : POLLIN);
  const udpEvents = isBlocked ? POLLIN | POLLOUT : POLLIN;
  for (let at = POLL.UDP; at < POLL.UDP + udpCount; at++) poll.watch(at, udpEvents);
  poll.wait(isStalled && (idleMs === WAIT_FOR_EVER || idleMs > STALL_MS) ? STALL_MS : idleMs);
  let udp = 0;
  for (let at = POLL.UDP; at < POLL.UDP + udpCount; at++) udp |= poll.events(at);
  const tun = poll.events(POLL.TUN) | (udp & (isBlocked ? POLLOUT : 0));
  const isTunReady = tun !== 0 || isStalled;
  return (isTunReady ? SIDE.TUN : 0) | ((udp & ~POLLOUT) === 0 ? 0 : SIDE.UDP);
}

interface LoopParts {
  readonly arena: Arena;
  readonly aead: AeadEngine;
  readonly questions: MailRing;
  readonly kept: Kept | undefined;
  readonly udp: UdpPort;
}

/** The kept state as this thread uses it. */
interface Kept {
  readonly state: KeptState;
  readonly windows: KeptWindows;
}

function openKept(address: number): Kept {
  const memory = memoryAt(address, KEPT_STATE_SIZE);
  return { state: new KeptState(memory), windows: new KeptWindows(memory) };
}

function openLoop(start: WorkerStart, parts: LoopParts): PacketLoop {
  const { arena, aead, questions, kept, udp } = parts;
  return new PacketLoop({
    arena,
    tun: new TunDevicePort(start.tunFd, arena.memory, PORT_LIMITS.writePieceCountMax),
    udp,
    clock: CLOCK,
    totals: new Float64Array(start.totals),
    peers: new Float64Array(start.peers),
    offloads: new Int32Array(start.offloads),
    probes: { questions, reports: new MailRing(start.reports) },
    aead,
    ...(kept === undefined ? {} : { windows: kept.windows }),
  });
}

/** Takes every message that waits, in order: a later one may build on an earlier one's counters. */
function takeTables(
  loop: PacketLoop,
  tables: MessagePort,
  told: {
    readonly control: Int32Array;
    readonly kept: Kept | undefined;
    readonly sockets: LoopSockets;
  },
): void {
  const { control, kept, sockets } = told;
  for (;;) {
    const received: { message: TableMessage } | undefined = receiveMessageOnPort(tables);
    if (received === undefined) return;
    const { generation, table, peers, probed, seal } = received.message;
    sockets.use(received.message.sockets);
    if (seal !== undefined) loop.useKeys({ ...seal, own: withSecrets(seal.own, kept?.state) });
    loop.useTable(table, peers === undefined ? undefined : new Float64Array(peers));
    loop.usePeers(probed);
    Atomics.store(control, CONTROL.TAKEN, generation);
  }
}

/** Pairs that lie in the kept state, with their memory. */
function withSecrets(
  own: readonly SharedKeyPair[],
  state: KeptState | undefined,
): readonly SharedKeyPair[] {
  return own.map((pair) => {
    if (pair.slot === undefined) return pair;
    assert(state !== undefined, "a pair in a slot needs the kept state");
    return { ...pair, memory: state.memoryOf(pair.slot) };
  });
}

assert(parentPort !== null, "packet-worker.ts runs in a Worker only");
const parent = parentPort;
const start: WorkerStart = workerData;
const errno = run(start, (message) => parent.postMessage(message));
if (errno !== 0) parent.postMessage({ kind: "lost", errno } satisfies WorkerReport);
start.tables.close();
