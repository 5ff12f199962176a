/**
 * The joining side of the join: check the peer's chain against the token's pin, and only then
 * send the secret.
 *
 * Somebody in between can show a chain of its own, or the real CA's certificate, which is no
 * secret; it cannot show a certificate that the real CA signed for a key that it holds. So the
 * pin is compared with the CA, the CA's signature on the peer's certificate is checked, and the
 * handshake has proved the key. Nothing that opens the cluster has been sent until then.
 *
 * @module
 */
import { connect, type TLSSocket } from "node:tls";
import type { ClusterId, NodeId } from "../../../base/ids.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import { encodeFrame, FrameSplitter, JOIN_FRAME_SIZE_MAX_BYTES } from "../codec/frame.ts";
import { formatHostPort } from "../transport/host-port.ts";
import { JOIN_PROTOCOL } from "../transport/listener.ts";
import {
  authoritiesBehind,
  chainOf,
  isIssuedBy,
  isKeyOf,
  judgeChain,
  nodeOf,
  parseBundle,
  parseCertificate,
  pinOf,
} from "../trust/certificate.ts";
import type { JoinGrant } from "../trust/identity.ts";
import { createRequest } from "../trust/pki.ts";
import { parseToken, type Token } from "../trust/token.ts";
import type { HostPort, JoinFailure, MemberInfo } from "../types.ts";
import { OWN_VERSIONS } from "../upgrade/node-versions.ts";
import { decodeAnswer, requestToRecord } from "./join-protocol.ts";

const TIMEOUT_MS = 15_000;
/** TCP connect and TLS handshake of one attempt. */
const HANDSHAKE_TIMEOUT_MS = 5_000;
const RETRY_MS = 300;

export interface JoinOptions {
  readonly peer: HostPort;
  /** The text that `overlay token` printed. */
  readonly token: string;
  readonly nodeId: NodeId;
  /**
   * This node's own key (PEM): with it the cluster knows a repeated join, also one from after a
   * crash, for the same request.
   */
  readonly key: string;
  readonly self: MemberInfo;
  /** Any other cluster is to refuse this node: it is a member that needs a new certificate. */
  readonly only?: ClusterId;
  readonly clock: Clock;
  readonly timeoutMs?: number;
  /** Ends the attempt at once. It may have succeeded at the other side. */
  readonly signal?: AbortSignal;
}

/** A grant with the private key (PEM) made for it; hand both to `IdentityStore.adopt`. */
export interface Joined {
  readonly grant: JoinGrant;
  readonly key: string;
}

interface Attempt {
  readonly peer: HostPort;
  readonly token: Token;
  readonly clock: Clock;
  /** The request as a frame. */
  readonly frame: Uint8Array;
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Asks the cluster of `peer` to take this node in. Changes nothing on this node. Tries again
 * while the cluster has no leader or an answer got lost; always with the same key, so that the
 * cluster knows it for the same request.
 */
export async function requestJoin(options: JoinOptions): Promise<Result<Joined, JoinFailure>> {
  const { peer, nodeId, key, self, clock, signal, timeoutMs = TIMEOUT_MS } = options;
  const token = parseToken(options.token);
  if (!token.ok) return token;
  const { csr } = await createRequest(nodeId, key);
  const { secret } = token.value;
  const request = { secret, nodeId, csr, info: self, versions: OWN_VERSIONS, only: options.only };
  const frame = encodeFrame(requestToRecord(request));
  const deadlineMs = clock.nowMs() + timeoutMs;
  for (;;) {
    const attempt = { peer, token: token.value, clock, frame, deadlineMs, signal };
    const result = await attemptJoin(attempt);
    if (result.ok) return checkGrant(result.value, { key, nodeId, token: token.value, options });
    const isWorthRetry = isPassing(result.error) && clock.nowMs() + RETRY_MS < deadlineMs;
    if (!isWorthRetry || signal?.aborted) return result;
    await pause(clock, signal);
  }
}

/** Waits before the next attempt; ends early when `signal` is raised. */
function pause(clock: Clock, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(RETRY_MS, resolve);
    signal?.addEventListener("abort", () => {
      cancel();
      resolve();
    });
  });
}

/** One connection: handshake, check, request, answer. */
function attemptJoin(attempt: Attempt): Promise<Result<JoinGrant, JoinFailure>> {
  const { peer, clock, signal } = attempt;
  if (signal?.aborted) return Promise.resolve(err(interrupted(peer)));
  return new Promise((resolve) => {
    let isTcpOpen = false;
    let isSecretSent = false;
    const socket = connect({
      host: peer.host,
      port: peer.port,
      minVersion: "TLSv1.3",
      ALPNProtocols: [JOIN_PROTOCOL],
      // The chain is checked against the pin below, before anything is sent.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    let cancelTimer = () => {};
    const interrupt = () => finish(err(interrupted(peer)));
    const finish = (result: Result<JoinGrant, JoinFailure>) => {
      cancelTimer();
      signal?.removeEventListener("abort", interrupt);
      socket.destroy();
      resolve(result);
    };
    const fail = (reason: string) => {
      if (isSecretSent) finish(err(answerLost(peer)));
      else if (isTcpOpen) finish(err(notOverlay(peer, reason)));
      else finish(err(unreachable(peer, reason)));
    };
    const leftMs = attempt.deadlineMs - clock.nowMs();
    cancelTimer = clock.after(Math.min(leftMs, HANDSHAKE_TIMEOUT_MS), () => fail("no answer"));
    signal?.addEventListener("abort", interrupt);
    socket.on("connect", () => {
      isTcpOpen = true;
    });
    socket.on("error", (error) => fail(reasonOf(error)));
    socket.on("close", () => fail("it closed the connection"));
    socket.on("secureConnect", () => {
      const problem = checkPeer(socket, attempt);
      if (problem !== undefined) {
        finish(err(problem));
        return;
      }
      cancelTimer();
      cancelTimer = clock.after(attempt.deadlineMs - clock.nowMs(), () => fail("no answer"));
      isSecretSent = true;
      socket.write(attempt.frame);
    });
    const splitter = new FrameSplitter(JOIN_FRAME_SIZE_MAX_BYTES);
    socket.on("data", (chunk: Uint8Array) => {
      const frames = splitter.push(chunk);
      if (frames !== undefined && frames.length === 0) return;
      const answer = frames?.[0] === undefined ? undefined : decodeAnswer(frames[0]);
      if (answer === undefined) finish(err(notOverlay(peer, "its answer makes no sense")));
      else finish("grant" in answer ? ok(answer.grant) : err(answer.failure));
    });
  });
}

/** Why the other side must not get the secret; undefined when it is the cluster of the token. */
function checkPeer(socket: TLSSocket, attempt: Attempt): JoinFailure | undefined {
  const { peer, token, clock } = attempt;
  if (socket.alpnProtocol !== JOIN_PROTOCOL) {
    return notOverlay(peer, "it speaks TLS, but not the cluster's protocol");
  }
  const chain = chainOf(socket);
  const pinned = chain.find((each) => pinOf(each) === token.pin);
  const judged = pinned === undefined ? undefined : judgeChain(chain, [pinned], clock.wallMs());
  if (judged?.ok) return undefined;
  // Otherwise the pinned CA is missing, or somebody who has not its key shows it.
  if (judged?.error.kind !== "expired") return pinMismatch(peer);
  return {
    kind: "join_refused",
    detail:
      `${attemptOf(peer)}: its certificate has expired; ` +
      "check this node's clock, or join through another member",
  };
}

/** Believes nothing of the grant that the pin and our own key do not prove. */
function checkGrant(
  grant: JoinGrant,
  own: {
    readonly key: string;
    readonly nodeId: NodeId;
    readonly token: Token;
    readonly options: JoinOptions;
  },
): Result<Joined, JoinFailure> {
  const { key, nodeId, token, options } = own;
  const bundle = parseBundle(grant.ca) ?? [];
  const pinned = bundle.find((each) => pinOf(each) === token.pin);
  const authorities = pinned === undefined ? [] : authoritiesBehind(pinned, bundle);
  const certificate = parseCertificate(grant.certificate);
  const isGood =
    certificate !== undefined &&
    bundle.every((each) => authorities.some((ca) => isIssuedBy(ca, each))) &&
    judgeChain([certificate], authorities, options.clock.wallMs()).ok &&
    nodeOf(certificate) === nodeId &&
    grant.nodeId === nodeId &&
    isKeyOf(key, certificate);
  if (isGood) return ok({ grant, key });
  return err(refused(options.peer, "what it granted does not fit this node"));
}

/** Whether the same request may succeed a moment later. */
function isPassing(failure: JoinFailure): boolean {
  return ["no_leader", "no_quorum", "timeout", "overloaded"].includes(failure.kind);
}

function attemptOf(peer: HostPort): string {
  return `Cannot join the cluster of ${formatHostPort(peer)}`;
}

function pinMismatch(peer: HostPort): JoinFailure {
  return {
    kind: "pin_mismatch",
    detail:
      `${attemptOf(peer)}: it is not the cluster that the token is for, or somebody is in between; ` +
      "check the address, and get a new token on a node of that cluster",
  };
}

function notOverlay(peer: HostPort, reason: string): JoinFailure {
  return {
    kind: "peer_not_overlay",
    detail:
      `${attemptOf(peer)}: no overlay node answers there (${reason}); ` +
      "check the address and the port",
  };
}

function unreachable(peer: HostPort, reason: string): JoinFailure {
  return {
    kind: "peer_unreachable",
    detail:
      `${attemptOf(peer)}: it cannot be reached (${reason}); ` +
      "check that its agent runs and that no firewall is in between",
  };
}

function refused(peer: HostPort, reason: string): JoinFailure {
  return {
    kind: "join_refused",
    detail: `${attemptOf(peer)}: ${reason}; use the same version of overlay on both nodes`,
  };
}

function answerLost(peer: HostPort): JoinFailure {
  return {
    kind: "timeout",
    detail: `${attemptOf(peer)}: its answer was lost; join again, which is harmless`,
  };
}

function interrupted(peer: HostPort): JoinFailure {
  return {
    kind: "timeout",
    detail: `${attemptOf(peer)}: this agent stops; join again when it runs, which is harmless`,
  };
}

function reasonOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
