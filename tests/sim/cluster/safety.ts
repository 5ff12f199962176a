/**
 * The safety properties of consensus, checked at every write, message and applied entry.
 *
 * Source: Ongaro's thesis, Figure 3.2 (election safety, leader append-only, log matching, leader
 * completeness, state machine safety), §3.8 (what must be durable before it is promised), §4.3
 * (membership). All checks are incremental: each looks at what is new.
 *
 * The checker sees all nodes at once; it believes no node about another.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import type { ConfState, PeerMessage } from "../../../src/control/raft/types.ts";
import type { StoredEntry, StoredHardState } from "../../../src/host/ports.ts";
import type { Coverage } from "./coverage.ts";
import { Chain, type LedgerHost, type NodeLedger } from "./ledger.ts";
import { must } from "./violation.ts";

const INDEX_LIMIT = 2 ** 26;

/** A membership and the index at which it took effect. */
interface ConfigAt {
  readonly index: number;
  readonly state: ConfState;
}

/** Watches over all nodes. */
export class Safety implements LedgerHost {
  /** What was applied by anybody, by index. */
  readonly committed = new Chain();
  /** The term of whoever applied it first, by index: not below the term that committed it. */
  readonly #commitTerms: number[] = [];
  /** Digest of the state after each index. */
  readonly #hashes: string[] = [];
  /** Hash of the whole log up to the entry of a term and index: there can only be one. */
  readonly #entries = new Map<number, number>();
  readonly #leaders = new Map<number, NodeId>();
  /** Terms of which an entry was written. */
  readonly #openedTerms = new Set<number>();
  /** Durable votes by term, then by voter. */
  readonly #votes = new Map<number, Map<NodeId, number>>();
  readonly #configs: ConfigAt[] = [];
  readonly #ledgers = new Map<NodeId, NodeLedger>();
  readonly #coverage: Coverage;

  constructor(coverage: Coverage) {
    this.#coverage = coverage;
  }

  /** The log begins with an entry at index 1 that nobody wrote: the first membership. */
  begin(state: ConfState, hash: number): void {
    this.committed.set(1, hash);
    this.#commitTerms[1] = 1;
    this.#configs.push({ index: 1, state });
  }

  /** From now on `ledger` counts among the nodes. */
  add(ledger: NodeLedger): void {
    this.#ledgers.set(ledger.node, ledger);
  }

  /** The last membership that anybody applied. */
  get config(): ConfState {
    const last = this.#configs.at(-1);
    must(last !== undefined, "begun", () => "there is no membership yet");
    return last.state;
  }

  /** The index at which `config` took effect. */
  get configIndex(): number {
    return this.#configs.at(-1)?.index ?? 0;
  }

  /** The highest index that anybody applied. */
  get committedIndex(): number {
    return this.committed.lastIndex;
  }

  /** Whether the entry `node` holds at `index` is the committed one. */
  isCommitted(index: number, hash: number | undefined): boolean {
    return hash !== undefined && this.committed.at(index) === hash;
  }

  handed(ledger: NodeLedger, entry: StoredEntry, hash: number): void {
    const { node } = ledger;
    const { index, term } = entry;
    const key = term * INDEX_LIMIT + index;
    const known = this.#entries.get(key);
    must(
      known === undefined || known === hash,
      "log matching",
      () => `node ${node} holds another log before entry ${term}/${index} than others`,
    );
    const chain = ledger.handed.chain;
    const replaced = chain.at(index);
    if (replaced !== undefined) {
      this.#coverage.hit("sometimes.log-truncated");
      must(
        !this.isCommitted(index, replaced),
        "committed entries are immutable",
        () => `node ${node} replaces committed entry ${index} by one of term ${term}`,
      );
      must(
        this.#leaders.get(ledger.handed.hardState?.term ?? 0) !== node,
        "leader append-only",
        () => `node ${node} replaces its own entry ${index} while it leads`,
      );
    }
    if (known !== undefined) return;
    this.#entries.set(key, hash);
    // Whoever writes the first entry of a term leads it.
    if (this.#openedTerms.has(term)) return;
    this.#openedTerms.add(term);
    // Unless the leader ended after it had sent the entry and before it could write it itself.
    const leader = this.#leaders.get(term) ?? node;
    if (leader === node) this.#elected(ledger, term, index);
  }

  voteDurable(ledger: NodeLedger, state: StoredHardState): void {
    const { term, vote } = state;
    if (vote === 0) return;
    const votes = this.#votes.get(term) ?? new Map<NodeId, number>();
    this.#votes.set(term, votes);
    const known = votes.get(ledger.node);
    must(
      known === undefined || known === vote,
      "one vote a term",
      () => `node ${ledger.node} voted for ${known} and for ${vote} in term ${term}`,
    );
    votes.set(ledger.node, vote);
  }

  /** `message` is about to leave its node. */
  sent(message: PeerMessage): void {
    const { from, term } = message;
    // A snapshot says nothing about its sender: sources send them to spares.
    switch (message.kind) {
      case "append_request":
      case "heartbeat_request":
      case "timeout_now":
        this.#leads(from, term);
        return;
      case "append_response":
        if (message.rejected === undefined) this.#vouchedFor(from, term, message.index);
        return;
      case "vote_request":
        if (message.round === "vote") this.#stands(from, term);
        return;
      case "vote_response":
        if (!message.rejected && message.round === "vote") this.#votedFor(from, term, message.to);
        return;
    }
  }

  /** `node` applied the entry at `index`; `hash` is the digest of its state after it. */
  applied(node: NodeId, index: number, hash: string): void {
    const ledger = this.#ledgers.get(node);
    const own = ledger?.handed.chain.at(index);
    must(own !== undefined, "applied entries are in the log", () => `node ${node} at ${index}`);
    const known = this.committed.at(index);
    must(
      known === undefined || known === own,
      "state machine safety",
      () => `node ${node} applied another entry at ${index} than others did`,
    );
    const state = this.#hashes[index];
    must(
      state === undefined || state === hash,
      "replicas agree",
      () => `node ${node} has state ${hash} at ${index}, others have ${state}`,
    );
    this.#hashes[index] = hash;
    if (known !== undefined) return;
    must(
      index === this.committedIndex + 1,
      "entries are applied in order",
      () => `${index} after ${this.committedIndex}`,
    );
    this.committed.set(index, own);
    this.#commitTerms[index] = ledger?.handed.hardState?.term ?? 0;
    this.#onQuorum(index, own);
    if (ledger !== undefined) this.#ownTermOnQuorum(ledger, index);
  }

  /** `node` took a whole state with digest `hash` at `index` out of a snapshot. */
  restored(node: NodeId, index: number, hash: string): void {
    if (index === 0) return;
    const known = this.#hashes[index];
    must(
      index <= this.committedIndex && (known === undefined || known === hash),
      "a snapshot equals the replayed log",
      () => `node ${node} restored ${hash} at ${index}, others have ${known}`,
    );
  }

  /** `node` has `state` as its membership at `index`. */
  membership(node: NodeId, index: number, state: ConfState): void {
    const known = this.#configs.findLast((each) => each.index <= index);
    if (known !== undefined && isSameConfig(known.state, state)) return;
    const isLater = this.#configs.some(
      (each) => each.index > index && isSameConfig(each.state, state),
    );
    // Seen early while a snapshot that has it is being written.
    if (isLater) return;
    must(
      known !== undefined && index > (this.#configs.at(-1)?.index ?? 0),
      "one membership at an index",
      () => `node ${node} has ${describeConfig(state)} at ${index}`,
    );
    must(
      doQuorumsMeet(known.state, state),
      "quorums of consecutive memberships meet",
      () => `${describeConfig(known.state)}, then ${describeConfig(state)} at ${index}`,
    );
    this.#configs.push({ index, state });
    this.#coverage.hit("sometimes.membership-changed");
    if (state.votersOutgoing.length > 0) this.#coverage.hit("sometimes.joint-membership");
  }

  /** Who led `term`, if anybody wrote or said so. */
  leaderOf(term: number): NodeId | undefined {
    return this.#leaders.get(term);
  }

  #leads(node: NodeId, term: number): void {
    const known = this.#leaders.get(term);
    must(
      known === undefined || known === node,
      "election safety",
      () => `${known} and ${node} both lead term ${term}`,
    );
    if (known === undefined) this.#leaders.set(term, node);
  }

  #elected(ledger: NodeLedger, term: number, index: number): void {
    const { node } = ledger;
    this.#leads(node, term);
    this.#coverage.hit("sometimes.elected");
    let last = this.committedIndex;
    // What a later term committed may be missing here.
    while (last > 0 && (this.#commitTerms[last] ?? 0) >= term) last--;
    must(
      index > last && this.isCommitted(last, ledger.handed.chain.at(last)),
      "leader completeness",
      () => `node ${node} leads term ${term} without committed entry ${last}`,
    );
    const votes = this.#votes.get(term);
    const hasVote = (id: NodeId) => votes?.get(id) === node;
    // A leader that is late may know none of the memberships that a later term made.
    const isLate = [...this.#leaders.keys()].some((other) => other > term);
    const configs = isLate ? this.#configs.map((each) => each.state) : this.#recentConfigs(index);
    must(
      configs.some((state) => isQuorum(state, hasVote)),
      "elected by durable votes",
      () => `node ${node} leads term ${term} with ${JSON.stringify([...(votes ?? [])])}`,
    );
  }

  #vouchedFor(node: NodeId, term: number, index: number): void {
    const ledger = this.#ledgers.get(node);
    const { chain, hardState } = ledger?.durable ?? {};
    // What it took in before it learned of a later term may be replaced in the same write: whoever
    // asked is deposed by then, and can commit nothing with it (checked where entries are applied).
    const isLate = (hardState?.term ?? 0) > term;
    must(
      isLate || ledger?.hasReached(term, index) === true,
      "durable before acknowledged",
      () =>
        `node ${node} acknowledged ${index} in term ${term} ` +
        `with ${chain?.lastIndex} and ${hardState?.term} on its disk`,
    );
  }

  /** A candidate that forgot its term could be elected in it twice, with two logs (§3.8). */
  #stands(node: NodeId, term: number): void {
    const hardState = this.#ledgers.get(node)?.durable.hardState;
    const isLate = (hardState?.term ?? 0) > term;
    must(
      isLate || this.#votes.get(term)?.get(node) === node,
      "candidates have voted for themselves",
      () => `node ${node} asks for votes of term ${term}, on its disk is ${hardState?.term}`,
    );
  }

  #votedFor(node: NodeId, term: number, candidate: NodeId): void {
    const votes = this.#votes.get(term) ?? new Map<NodeId, number>();
    this.#votes.set(term, votes);
    const vote = votes.get(node);
    // A later term in the same write is as good: there is no other vote in this one any more.
    const isLate = (this.#ledgers.get(node)?.durable.hardState?.term ?? 0) > term;
    must(
      vote === candidate || (isLate && vote === undefined),
      "durable before acknowledged",
      () => `node ${node} gave ${candidate} its vote of term ${term}, on its disk is ${vote}`,
    );
    votes.set(node, candidate);
  }

  #onQuorum(index: number, hash: number): void {
    const holds = (id: NodeId) => this.#ledgers.get(id)?.holds(index, hash) ?? false;
    must(
      this.#recentConfigs(index).some((state) => isQuorum(state, holds)),
      "committed on a durable quorum",
      () => {
        const holders = [...this.#ledgers.keys()].filter(holds);
        return `entry ${index} is on the disks of ${holders} only`;
      },
    );
  }

  /**
   * Figure 3.7: whoever leads while it is the first to apply an entry must have an entry of its own
   * term, that one or a later one, on a quorum. Copies of older entries prove nothing.
   */
  #ownTermOnQuorum(ledger: NodeLedger, index: number): void {
    const { chain, hardState, terms } = ledger.handed;
    const term = hardState?.term ?? 0;
    if (this.#leaders.get(term) !== ledger.node) return;
    const isProof = (at: number) => {
      const hash = chain.at(at);
      const holds = (id: NodeId) =>
        hash !== undefined && (this.#ledgers.get(id)?.holds(at, hash) ?? false);
      return terms[at] === term && this.#recentConfigs(at).some((state) => isQuorum(state, holds));
    };
    for (let at = index; at <= chain.lastIndex; at++) if (isProof(at)) return;
    must(
      false,
      "commits by its own term",
      () => `node ${ledger.node} leads term ${term} and applied entry ${index} of an older one`,
    );
  }

  /** The membership before `index` and the one before that, which a leader may still have. */
  #recentConfigs(index: number): readonly ConfState[] {
    const before = this.#configs.filter((each) => each.index < index);
    return before.slice(-2).map((each) => each.state);
  }
}

/** Whether those for whom `holds` is true decide in `state`. */
function isQuorum(state: ConfState, holds: (id: NodeId) => boolean): boolean {
  return [state.voters, state.votersOutgoing].every(
    (half) => half.length === 0 || half.filter(holds).length > half.length / 2,
  );
}

/** Whether every quorum of `a` has a node in common with every quorum of `b`. */
function doQuorumsMeet(a: ConfState, b: ConfState): boolean {
  const all = [...new Set([a, b].flatMap((state) => [...state.voters, ...state.votersOutgoing]))];
  for (let mask = 0; mask < 1 << all.length; mask++) {
    const isIn = (id: NodeId) => (mask & (1 << all.indexOf(id))) !== 0;
    if (isQuorum(a, isIn) && isQuorum(b, (id) => !isIn(id))) return false;
  }
  return true;
}

function isSameConfig(a: ConfState, b: ConfState): boolean {
  return Bun.deepEquals(a, b);
}

function describeConfig(state: ConfState): string {
  const { voters, votersOutgoing, learners } = state;
  return `voters ${voters} outgoing ${votersOutgoing} learners ${learners}`;
}
