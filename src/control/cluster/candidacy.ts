/**
 * Asking for votes: the one message beside acknowledgments that must wait for our own disk.
 *
 * The core counts our own vote when it is durable, but asks the others at once, and they may elect
 * us without it. A candidate that then forgot in a crash that it ever was one could be elected by
 * the same nodes a second time in the same term, with another log: two entries of one term and
 * index (thesis §3.4, §3.8). A rehearsal (pre-vote) promises nothing and need not wait.
 *
 * @module
 */
import type { PeerMessage, StorageAppend, StorageApply, VoteRequest } from "../raft/types.ts";

/** Whether `message` asks for a vote that counts. */
export function isCandidacy(
  message: PeerMessage | StorageAppend | StorageApply,
): message is VoteRequest {
  return message.kind === "vote_request" && message.round === "vote";
}
