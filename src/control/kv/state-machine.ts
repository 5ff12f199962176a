/**
 * The replicated state machine: applies commands in log order, each request exactly once.
 *
 *     apply(command) -> request seen before? yes: its outcome again, nothing changes
 *                                            no:  handler -> commit (0 or 1 revision) -> remember
 *
 * Everything follows from the log: no clock, no I/O, no randomness. A handler that throws has a
 * bug: the exception goes on to the caller, the state is not usable any more, and the process is
 * to end. What a handler cannot or will not do is an outcome. One command is not a handler's:
 * `check`, which compares this replica's state with the others' (check.ts).
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";
import { decodeIndex, decodeRevision, type Index, type Revision } from "../../base/ids.ts";
import { type CheckOutcome, type Divergence, parseCheckState, StateChecks } from "./check.ts";
import { History } from "./history.ts";
import { RequestTable } from "./requests.ts";
import { type FrozenState, type RestoredState, SnapshotReader, writeSnapshot } from "./snapshot.ts";
import { Store } from "./store.ts";
import type {
  Applied,
  ApplyContext,
  Command,
  CommandHandler,
  CommandRefusal,
  KeyTtl,
  KeyValue,
  KvMachine,
  KvReader,
  Restoration,
  SnapshotPart,
} from "./types.ts";

const MALFORMED: CommandRefusal = { kind: "malformed_command" };
const CHECKED: CheckOutcome = { kind: "checked" };

/** An empty store that applies the commands of `handlers` (by command kind). */
export function createStateMachine(handlers: Readonly<Record<string, CommandHandler>>): KvMachine {
  return new KvStateMachine(handlers);
}

/**
 * A handler that looks at a command's content before it believes it: what is in the log came from
 * some node, perhaps of another version.
 */
export function handler<Parsed extends Command, Outcome>(
  parse: (command: unknown) => Parsed | undefined,
  apply: (writer: Parameters<CommandHandler>[0], command: Parsed, context: ApplyContext) => Outcome,
): CommandHandler {
  return (writer, command, context) => {
    const parsed = parse(command);
    return parsed === undefined ? MALFORMED : apply(writer, parsed, context);
  };
}

class KvStateMachine implements KvMachine {
  readonly #handlers: Readonly<Record<string, CommandHandler>>;
  #store = new Store(decodeRevision(0));
  #requests = new RequestTable();
  /** Invariant: never goes back, except by `restore`. */
  #appliedIndex = decodeIndex(0);
  readonly history = new History();
  readonly checks = new StateChecks();
  /** Reads whichever store is the current one, so that it outlives a restore. */
  readonly reader: KvReader;

  constructor(handlers: Readonly<Record<string, CommandHandler>>) {
    this.#handlers = handlers;
    const store = () => this.#store;
    this.reader = {
      get revision() {
        return store().revision;
      },
      get: (key: string): KeyValue | undefined => store().get(key),
      list: (prefix: string, after?: string): Iterable<KeyValue> => store().list(prefix, after),
    };
  }

  get ttls(): ReadonlyMap<string, KeyTtl> {
    return this.#store.ttls;
  }

  get appliedIndex(): Index {
    return this.#appliedIndex;
  }

  apply(command: Command, context: ApplyContext): Applied {
    this.#advance(context.index);
    const applied = this.#applyOnce(command, context);
    this.checks.passed(context.index, () => this.hash());
    return applied;
  }

  skip(index: Index): void {
    this.#advance(index);
    this.checks.passed(index, () => this.hash());
  }

  snapshot(): Iterable<SnapshotPart> {
    const state: FrozenState = {
      index: this.#appliedIndex,
      revision: this.#store.revision,
      compactRevision: this.#store.compactRevision,
      hash: this.hash(),
      clients: this.#requests.clients(),
      outcomes: this.#requests.outcomes(),
      pairs: this.#store.freeze(),
    };
    return { [Symbol.iterator]: () => writeSnapshot(state) };
  }

  restore(parts: Iterable<SnapshotPart>): string | undefined {
    const restoration = this.restoration();
    for (const part of parts) {
      const problem = restoration.take(part);
      if (problem !== undefined) return problem;
    }
    return restoration.end();
  }

  restoration(): Restoration {
    const reader = new SnapshotReader();
    return {
      take: (part) => reader.take(part),
      check: (index) => {
        const restored = reader.end();
        const isOther = typeof restored !== "string" && restored.index !== index;
        return isOther ? `it is the state after entry ${restored.index}` : problemOf(restored);
      },
      end: () => this.#replace(reader.end()),
    };
  }

  #replace(restored: RestoredState | string): string | undefined {
    const problem = problemOf(restored);
    if (typeof restored === "string" || problem !== undefined) return problem;
    const { index, store, requests } = restored;
    this.#appliedIndex = index;
    this.#store = store;
    this.#requests = requests;
    this.history.reset(store.revision);
    this.checks.reset();
    return undefined;
  }

  advance(revision: Revision): void {
    this.#store.advance(revision);
    this.history.reset(revision);
  }

  hash(): string {
    return digest(this.#appliedIndex, this.#store, this.#requests);
  }

  #advance(index: Index): void {
    assert(index === this.#appliedIndex + 1, "entries must be applied in order, each once");
    this.#appliedIndex = index;
  }

  #applyOnce(command: Command, context: ApplyContext): Applied {
    const { request } = context;
    const store = this.#store;
    const known = request === undefined ? undefined : this.#requests.find(request);
    if (known !== undefined) {
      return { outcome: known.outcome, revision: store.revision, events: [] };
    }
    store.begin(context.index);
    const outcome = this.#handle(command, context);
    const events = store.commit();
    if (events.length > 0) this.history.append({ revision: store.revision, events });
    this.history.forgetThrough(store.compactRevision);
    if (request !== undefined) this.#requests.remember(request, outcome);
    return { outcome, revision: store.revision, events };
  }

  #handle(command: Command, context: ApplyContext): unknown {
    const { kind } = command;
    if (kind === "check") return this.#check(command);
    // To pass over what the others applied would make another state of ours.
    if (!Object.hasOwn(this.#handlers, kind)) throw unknownCommand(kind, context.index);
    return this.#handlers[kind]!(this.#store, command, context);
  }

  #check(command: Command): CheckOutcome {
    const word = parseCheckState(command);
    if (word === undefined) return MALFORMED;
    const divergence = this.checks.take(word);
    if (divergence !== undefined) throw diverged(divergence);
    return CHECKED;
  }
}

function unknownCommand(kind: string, index: Index): HostError {
  return new HostError({
    operation: "apply",
    object: `log entry ${index}`,
    reason: `this program does not know its command "${kind}"`,
    next: "install the version of overlay that the other members run",
  });
}

/** Nothing that this replica holds can be believed: not a bug of this entry, nor of this run. */
function diverged({ index, own, theirs, count, voterCount }: Divergence): HostError {
  const reason =
    `state diverged: after entry ${index} its digest is ${own}, ` +
    `but ${count} of ${voterCount} voters have ${theirs}`;
  return new HostError({
    operation: "go on with",
    object: "the replicated state",
    reason,
    next:
      "start this node again; if that repeats itself, check its memory and disk, move its data " +
      "directory away and join the cluster as a new node",
  });
}

function digest(index: Index, store: Store, requests: RequestTable): string {
  return store.digest([store.revision, store.compactRevision]) + requests.digest([index]);
}

/** Why `restored` must not become a state; undefined when it may. */
function problemOf(restored: RestoredState | string): string | undefined {
  if (typeof restored === "string") return restored;
  const { index, store, requests, hash } = restored;
  if (digest(index, store, requests) === hash) return undefined;
  return "the restored state has another digest than the one that was saved";
}
