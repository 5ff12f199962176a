/**
 * Asks peers on behalf of people: who is meant, what came back, in the words of the API.
 *
 * @module
 */
import type { NotFound, PingRequest, PingResultView, PingView } from "../admin/service.ts";
import { type IpAddress, parseAddress, prefixAddress, prefixHas } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import { formatNodeId, type NodeId } from "../base/ids.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { FibRow } from "../dataplane/fib/row.ts";
import type { PingOutcome } from "../dataplane/probe/prober.ts";
import type { Clock } from "../host/ports.ts";
import { errnoName } from "../host/sys/errno.ts";
import { openEchoSocket } from "../host/udp/echo-socket.ts";
import type { DataPlane } from "./data-plane.ts";
import type { PeerProber } from "./peer-prober.ts";

/** Questions at once; the next ones follow a little later, so that none waits for the others. */
const BURST_COUNT = 30;
const BURST_INTERVAL_MS = 20;

export interface PingSources {
  readonly dataPlane: DataPlane;
  /** Names of the members. */
  readonly names: ReadonlyMap<NodeId, string>;
  readonly clock: Clock;
}

/** One question to each peer that `request` means. */
export async function pingPeers(
  sources: PingSources,
  request: PingRequest,
): Promise<Result<PingView, NotFound>> {
  const { dataPlane, clock } = sources;
  const { target, delayMs } = request;
  const object = `Cannot ping "${target}"`;
  const { prober, assigned } = dataPlane;
  if (prober === undefined || assigned === undefined) {
    const detail = `${object}: this node has no lease yet; "overlay status" says what is missing`;
    return err({ kind: "not_found", detail });
  }
  const peers = choosePeers(sources, assigned.rows, target);
  if (peers.length === 0 && target !== "all") {
    const detail = `${object}: no peer has that name, id or address; see "overlay status --all"`;
    return err({ kind: "not_found", detail });
  }
  if (peers.length > 1 && target !== "all") {
    const ids = peers.map(({ peer }) => formatNodeId(peer)).join(", ");
    const detail = `${object}: ${peers.length} peers have that name; give one of their ids: ${ids}`;
    return err({ kind: "not_found", detail });
  }
  const ask = async (peer: FibRow, position: number) => {
    const waitMs = delayMs + Math.floor(position / BURST_COUNT) * BURST_INTERVAL_MS;
    if (waitMs > 0) await new Promise<void>((done) => void clock.after(waitMs, done));
    return await pingPeer(sources, prober, peer, request);
  };
  return ok({ results: await Promise.all(peers.map(ask)) });
}

/** Peers by name, id, endpoint's address, or an address in their subnet; each once. */
function choosePeers(
  { names }: PingSources,
  peers: readonly FibRow[],
  target: string,
): readonly FibRow[] {
  const once = [...new Map(peers.map((row) => [row.peer, row])).values()];
  if (target === "all") return once;
  const exact = once.filter(
    ({ peer }) => formatNodeId(peer) === target || names.get(peer) === target,
  );
  if (exact.length > 0) return exact;
  const address = parseAddress(target);
  if (address === undefined) return [];
  return once.filter(
    ({ peer, endpoint }) =>
      endpoint.address === address ||
      peers.some((row) => row.peer === peer && prefixHas(row.prefix, address)),
  );
}

async function pingPeer(
  { dataPlane, names, clock }: PingSources,
  prober: PeerProber,
  row: FibRow,
  request: PingRequest,
): Promise<PingResultView> {
  const { peer: node, prefix, endpoint } = row;
  const own = dataPlane.assigned;
  if (request.raiseMtu) prober.raise(node);
  const isOverlay = request.through === "overlay";
  const overlayAddress = prefixAddress(prefix);
  const outcome =
    isOverlay && own !== undefined
      ? await echo(clock, prefixAddress(own.subnet), overlayAddress, request.timeoutMs)
      : await prober.ping(node, request.timeoutMs);
  const path = prober.path(node);
  return {
    id: formatNodeId(node),
    name: names.get(node) ?? formatNodeId(node),
    address: isOverlay ? overlayAddress : `${endpoint.address}:${endpoint.port}`,
    rttMs: outcome?.kind === "answered" ? Math.round(outcome.roundTripMs * 1000) / 1000 : null,
    reason: reasonOf(outcome, request.timeoutMs),
    mtu: path?.pathMtu === undefined ? null : path.innerMtu,
    pathMtu: path?.pathMtu ?? null,
  };
}

/** An echo request through the TUN to the peer's own overlay address. */
async function echo(
  clock: Clock,
  from: IpAddress,
  to: IpAddress,
  timeoutMs: number,
): Promise<PingOutcome> {
  try {
    using socket = openEchoSocket({ from, to, clock });
    const roundTripMs = await socket.echo(timeoutMs);
    return roundTripMs === undefined ? { kind: "lost" } : { kind: "answered", roundTripMs };
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return { kind: "failed", reason: error.message };
  }
}

function reasonOf(outcome: PingOutcome | undefined, timeoutMs: number): string | null {
  switch (outcome?.kind) {
    case undefined:
      return "it is not watched: its endpoint is of another address family than our underlay";
    case "answered":
      return null;
    case "lost":
      return `no answer within ${timeoutMs / 1000} s`;
    case "refused":
      return `the kernel would not send it (${errnoName(outcome.errno)})`;
    case "failed":
      return outcome.reason;
  }
}
