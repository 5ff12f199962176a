/**
 * The replicated state machine: applies commands in log order, each request exactly once.
 *
 *     apply(command) -> request seen before? yes: its outcome again, nothing changes
 *                                            no:  handler -> commit (0 or 1 revision) -> remember
 *
 * Everything follows from the log: no clock, no I/O, no randomness. A handler that throws has a
 * bug: the exception goes on to the caller, the state is not usable any more, and the process is
 * to end. What a handler cannot or will not do is an outcome.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, decodeRevision, type Index } from "../../base/ids.ts";
import { History } from "./history.ts";
import { RequestTable } from "./requests.ts";
import { type FrozenState, readSnapshot, writeSnapshot } from "./snapshot.ts";
import { Store } from "./store.ts";
import type {
  Applied,
  ApplyContext,
  Command,
  CommandHandler,
  CommandRefusal,
  KeyValue,
  KvReader,
  SnapshotPart,
  StateMachine,
} from "./types.ts";

const UNKNOWN: CommandRefusal = { kind: "unknown_command" };
const MALFORMED: CommandRefusal = { kind: "malformed_command" };

/** An empty store that applies the commands of `handlers` (by command kind). */
export function createStateMachine(
  handlers: Readonly<Record<string, CommandHandler>>,
): StateMachine {
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

class KvStateMachine implements StateMachine {
  readonly #handlers: Readonly<Record<string, CommandHandler>>;
  #store = new Store(decodeRevision(0));
  #requests = new RequestTable();
  /** Invariant: never goes back, except by `restore`. */
  #appliedIndex = decodeIndex(0);
  readonly history = new History();
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
      list: (prefix: string): Iterable<KeyValue> => store().list(prefix),
    };
  }

  get appliedIndex(): Index {
    return this.#appliedIndex;
  }

  apply(command: Command, context: ApplyContext): Applied {
    this.skip(context.index);
    const { request } = context;
    const known = request === undefined ? undefined : this.#requests.find(request);
    if (known !== undefined) {
      return { outcome: known.outcome, revision: this.#store.revision, events: [] };
    }
    const outcome = this.#handle(command, context);
    const events = this.#store.commit();
    if (events.length > 0) this.history.append({ revision: this.#store.revision, events });
    if (request !== undefined) this.#requests.remember(request, outcome);
    return { outcome, revision: this.#store.revision, events };
  }

  skip(index: Index): void {
    assert(index === this.#appliedIndex + 1, "entries must be applied in order, each once");
    this.#appliedIndex = index;
  }

  snapshot(): Iterable<SnapshotPart> {
    const state: FrozenState = {
      index: this.#appliedIndex,
      revision: this.#store.revision,
      hash: this.hash(),
      clients: this.#requests.clients(),
      outcomes: this.#requests.outcomes(),
      pairs: this.#store.freeze(),
    };
    return { [Symbol.iterator]: () => writeSnapshot(state) };
  }

  restore(parts: readonly SnapshotPart[]): string | undefined {
    const restored = readSnapshot(parts);
    if (typeof restored === "string") return restored;
    const { index, store, requests } = restored;
    if (digest(index, store, requests) !== restored.hash) {
      return "the restored state has another digest than the one that was saved";
    }
    this.#appliedIndex = index;
    this.#store = store;
    this.#requests = requests;
    this.history.reset(store.revision);
    return undefined;
  }

  hash(): string {
    return digest(this.#appliedIndex, this.#store, this.#requests);
  }

  #handle(command: Command, context: ApplyContext): unknown {
    const { kind } = command;
    const known = typeof kind === "string" && Object.hasOwn(this.#handlers, kind);
    return known ? this.#handlers[kind]!(this.#store, command, context) : UNKNOWN;
  }
}

function digest(index: Index, store: Store, requests: RequestTable): string {
  return store.digest([store.revision]) + requests.digest([index]);
}
