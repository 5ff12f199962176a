/**
 * What happened on the cluster port, counted: refusals by reason, losses, volumes.
 *
 * @module
 */

/** Running totals since the start. Written by the transport and the listener, read for metrics. */
export interface PeerCounters {
  /** Handshakes that failed: no TLS 1.3, no known protocol, too slow. */
  handshakesFailed: number;
  /** Connections that showed no certificate. */
  refusedWithoutCertificate: number;
  /** Connections with a certificate that none of the cluster's CAs made. */
  refusedForeign: number;
  /** Connections with a certificate that is over. */
  refusedExpired: number;
  /** Connections of nodes that were removed: their certificates are revoked. */
  refusedRemoved: number;
  /** Connections of nodes that are in no table here. */
  refusedStrangers: number;
  /** Frames and calls that the sender's role does not allow: Raft from a spare, for one. */
  refusedRoles: number;
  /** Connections of old copies of nodes, and of second processes of one. */
  refusedCopies: number;
  /** Frames that were malformed, of another cluster, generation or node. */
  refusedFrames: number;
  /** Connections that could not be accepted: too many open files, for one. */
  acceptsFailed: number;
  /** Messages that were not sent: no connection, or its queue was full. */
  droppedMessages: number;
  sentFrames: number;
  receivedFrames: number;
  sentSnapshots: number;
  receivedSnapshots: number;
  /** Connections for a join, and those of them that were let in. */
  joinRequests: number;
  joinsGranted: number;
  /** Wrong tokens, those refused for trying too often included. */
  joinTokensRefused: number;
}

/** All zero. */
export function createPeerCounters(): PeerCounters {
  return {
    handshakesFailed: 0,
    refusedWithoutCertificate: 0,
    refusedForeign: 0,
    refusedExpired: 0,
    refusedRemoved: 0,
    refusedStrangers: 0,
    refusedRoles: 0,
    refusedCopies: 0,
    refusedFrames: 0,
    acceptsFailed: 0,
    droppedMessages: 0,
    sentFrames: 0,
    receivedFrames: 0,
    sentSnapshots: 0,
    receivedSnapshots: 0,
    joinRequests: 0,
    joinsGranted: 0,
    joinTokensRefused: 0,
  };
}
