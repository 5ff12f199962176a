/**
 * Membership changes as pure functions from one configuration to the next.
 *
 *                    simple: at most one voter differs (§4.1)
 *   (1 2 3) ------------------------------------------------------> (1 2 3 4)
 *      |                                                                ^
 *      +--enterJoint--> (1 2 3 4)&&(1 2 3) --leaveJoint-----------------+   (§4.3)
 *
 * A voter that is to become a learner while it still votes in the outgoing half waits in
 * `learnersNext` until the joint configuration is left: nobody is both at once.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import { err, ok, type Result } from "../../base/result.ts";
import type { ConfChange, ConfChangeSingle, ConfState } from "./types.ts";

/** Why a change cannot follow the current configuration. */
export type ConfChangeError =
  | { readonly kind: "already_joint" }
  | { readonly kind: "no_voters_to_join" }
  | { readonly kind: "not_joint" }
  | { readonly kind: "simple_while_joint" }
  | { readonly kind: "several_voters_changed" }
  | { readonly kind: "no_voters_left" };

/** The next configuration. */
export interface ConfChangeOutcome {
  readonly config: ConfState;
  /** Members whose progress must start anew: they were not members at some point. */
  readonly fresh: ReadonlySet<NodeId>;
}

type Outcome = Result<ConfChangeOutcome, ConfChangeError>;

/** A configuration without members: what a node has before it hears of any. */
export const EMPTY_CONFIG: ConfState = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

/** Whether decisions need two majorities. */
export function isJoint(config: ConfState): boolean {
  return config.votersOutgoing.length > 0;
}

/** Whether `node` votes, in either half. */
export function isVoter(config: ConfState, node: NodeId): boolean {
  return config.voters.includes(node) || config.votersOutgoing.includes(node);
}

/** Whether `node` receives the log. */
export function isMember(config: ConfState, node: NodeId): boolean {
  return isVoter(config, node) || config.learners.includes(node);
}

/** All voters of both halves, ascending. */
export function votersOf(config: ConfState): NodeId[] {
  return ascending([...config.voters, ...config.votersOutgoing]);
}

/** Everybody who receives the log, ascending. */
export function membersOf(config: ConfState): NodeId[] {
  return ascending([...config.voters, ...config.votersOutgoing, ...config.learners]);
}

/** What `change` makes of `config`, by the way that its transition asks for. */
export function changeConfig(config: ConfState, change: ConfChange): Outcome {
  const { changes, transition } = change;
  if (transition === "auto" && changes.length === 0) return leaveJoint(config);
  if (transition === "auto" && changes.length === 1) return changeSimple(config, changes);
  return enterJoint(config, changes, transition !== "explicit");
}

/** Changes at most one voter, and any number of learners, in one step. */
export function changeSimple(config: ConfState, changes: readonly ConfChangeSingle[]): Outcome {
  if (isJoint(config)) return err({ kind: "simple_while_joint" });
  const draft = new Draft(config);
  draft.apply(changes);
  if (draft.voters.size === 0) return err({ kind: "no_voters_left" });
  if (differenceCount(draft.voters, config.voters) > 1) {
    return err({ kind: "several_voters_changed" });
  }
  return ok(draft.outcome(config.autoLeave));
}

/** Makes the present voters the outgoing half and applies `changes` to the incoming one. */
export function enterJoint(
  config: ConfState,
  changes: readonly ConfChangeSingle[],
  autoLeave: boolean,
): Outcome {
  if (isJoint(config)) return err({ kind: "already_joint" });
  if (config.voters.length === 0) return err({ kind: "no_voters_to_join" });
  const draft = new Draft({ ...config, votersOutgoing: config.voters });
  draft.apply(changes);
  if (draft.voters.size === 0) return err({ kind: "no_voters_left" });
  return ok(draft.outcome(autoLeave));
}

/** Lets the incoming half decide alone; waiting learners become learners. */
export function leaveJoint(config: ConfState): Outcome {
  if (!isJoint(config)) return err({ kind: "not_joint" });
  const left: ConfState = {
    voters: config.voters,
    votersOutgoing: [],
    learners: ascending([...config.learners, ...config.learnersNext]),
    learnersNext: [],
    autoLeave: false,
  };
  assertConfState(left);
  return ok({ config: left, fresh: new Set() });
}

/** Whether lists are ascending without repetition and nobody has two parts that exclude. */
export function isValidConfState(config: ConfState): boolean {
  const lists = [config.voters, config.votersOutgoing, config.learners, config.learnersNext];
  if (!lists.every(isAscending)) return false;
  if (config.learners.some((node) => isVoter(config, node))) return false;
  if (config.learnersNext.some((node) => !config.votersOutgoing.includes(node))) return false;
  if (config.learnersNext.some((node) => config.voters.includes(node))) return false;
  return isJoint(config) || (config.learnersNext.length === 0 && !config.autoLeave);
}

/** Asserts `isValidConfState`. */
export function assertConfState(config: ConfState): void {
  assert(isValidConfState(config), "configuration must be well formed");
}

/** A configuration while changes are applied to its incoming half one by one. */
class Draft {
  readonly voters: Set<NodeId>;
  readonly #outgoing: readonly NodeId[];
  readonly #learners: Set<NodeId>;
  readonly #learnersNext: Set<NodeId>;
  readonly #fresh = new Set<NodeId>();

  constructor(config: ConfState) {
    this.voters = new Set(config.voters);
    this.#outgoing = config.votersOutgoing;
    this.#learners = new Set(config.learners);
    this.#learnersNext = new Set(config.learnersNext);
  }

  apply(changes: readonly ConfChangeSingle[]): void {
    for (const { operation, node } of changes) {
      if (operation === "add_voter") this.#addVoter(node);
      else if (operation === "add_learner") this.#addLearner(node);
      else if (operation === "remove") this.#remove(node);
    }
  }

  outcome(autoLeave: boolean): ConfChangeOutcome {
    const config: ConfState = {
      voters: ascending(this.voters),
      votersOutgoing: this.#outgoing,
      learners: ascending(this.#learners),
      learnersNext: ascending(this.#learnersNext),
      autoLeave,
    };
    assertConfState(config);
    return { config, fresh: this.#fresh };
  }

  #isMember(node: NodeId): boolean {
    return this.voters.has(node) || this.#learners.has(node) || this.#outgoing.includes(node);
  }

  #addVoter(node: NodeId): void {
    if (!this.#isMember(node)) this.#fresh.add(node);
    this.#learners.delete(node);
    this.#learnersNext.delete(node);
    this.voters.add(node);
  }

  #addLearner(node: NodeId): void {
    if (!this.#isMember(node)) this.#fresh.add(node);
    if (this.#learners.has(node)) return;
    this.voters.delete(node);
    if (this.#outgoing.includes(node)) this.#learnersNext.add(node);
    else this.#learners.add(node);
  }

  #remove(node: NodeId): void {
    this.voters.delete(node);
    this.#learners.delete(node);
    this.#learnersNext.delete(node);
  }
}

function differenceCount(a: ReadonlySet<NodeId>, b: readonly NodeId[]): number {
  const common = b.reduce((count, node) => count + (a.has(node) ? 1 : 0), 0);
  return a.size + b.length - 2 * common;
}

function ascending(nodes: Iterable<NodeId>): NodeId[] {
  return [...new Set(nodes)].sort((a, b) => a - b);
}

function isAscending(nodes: readonly NodeId[]): boolean {
  return nodes.every((node, i) => i === 0 || nodes[i - 1]! < node);
}
