/**
 * Requests of the store's HTTP API, made out of transactions, and what their answers tell.
 *
 * Each has a connection of its own: none is ever sent twice by the HTTP library, as it may do when
 * a connection that was kept turns out to be dead.
 *
 * @module
 */
import type { Host } from "../lab/host.ts";
import { type CallOutcome, type Consistency, shorten } from "./history.ts";
import type { Condition, Item, Step, StepResult, Told, Transaction } from "./transaction.ts";

/** A transaction, and the way in which it is put to the API. */
export interface Question {
  readonly transaction: Transaction;
  readonly route: "get" | "list" | "put" | "delete" | "txn";
  readonly consistency: Consistency;
  /** For `past`. */
  readonly revision?: number;
  readonly ttlSeconds?: number;
}

/** How the API names an item. */
export interface ItemView {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
}

/** Errors that say that no connection came about, so that nothing was asked. */
const NOT_SENT = new Set(["ConnectionRefused", "FailedToOpenSocket", "ENOENT", "ECONNREFUSED"]);

/** Asks `host`; gives up after `timeoutMs`. Whatever happens is an outcome. */
export async function ask(host: Host, question: Question, timeoutMs: number): Promise<CallOutcome> {
  const { method, path, headers, body } = render(question);
  try {
    const response = await fetch(`http://localhost${path}`, {
      method,
      unix: host.socket,
      keepalive: false,
      signal: AbortSignal.timeout(timeoutMs),
      ...(headers === undefined ? {} : { headers }),
      ...(body === undefined ? {} : { body }),
    });
    return read(question, response, await response.text());
  } catch (error) {
    const code = (error as { readonly code?: string }).code ?? "";
    const why = error instanceof Error ? `${error.name} ${code}` : String(error);
    return { kind: NOT_SENT.has(code) ? "refused" : "unknown", why };
  }
}

/** Values may be long on the wire: `c1.7*5000` stands for itself and 5000 bytes more. */
export function toWire(value: string): string {
  const length = /\*(\d+)$/.exec(value)?.[1];
  return length === undefined ? value : value + "x".repeat(Number(length));
}

/** What a value on the wire stands for; something else when it was damaged on its way. */
export function fromWire(text: string): string {
  const value = /^[^x]*\*\d+(?=x)/.exec(text)?.[0];
  if (value !== undefined && toWire(value) === text) return value;
  return shorten(text);
}

interface Rendered {
  readonly method: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

function render(question: Question): Rendered {
  const { transaction, route, consistency } = question;
  const { group, conditions, success, failure } = transaction;
  const [step] = success;
  const key = step === undefined || step.kind === "list" ? group : step.key;
  const query =
    consistency === "local"
      ? "consistency=serializable"
      : question.revision === undefined
        ? ""
        : `revision=${question.revision}`;
  switch (route) {
    case "get":
      return { method: "GET", path: `/kv${key}?${query}` };
    case "list":
      return { method: "GET", path: `/kv?prefix=${group}&${query}` };
    case "delete":
      return { method: "DELETE", path: `/kv${key}`, headers: renderConditions(conditions) };
    case "put": {
      const ttl = question.ttlSeconds === undefined ? "" : `?ttl=${question.ttlSeconds}`;
      const body = step?.kind === "put" ? toWire(step.value) : "";
      const headers = renderConditions(conditions);
      return { method: "PUT", path: `/kv${key}${ttl}`, headers, body };
    }
    case "txn": {
      const body = JSON.stringify({
        compare: conditions.map(compareView),
        success: success.map((each) => stepView(each, group)),
        failure: failure.map((each) => stepView(each, group)),
      });
      return { method: "POST", path: "/txn", body };
    }
  }
}

function renderConditions([condition]: readonly Condition[]): Record<string, string> {
  if (condition === undefined) return {};
  const { is } = condition;
  if (is.kind === "revision") {
    return is.revision === 0 ? { "if-none-match": "*" } : { "if-match": `"${is.revision}"` };
  }
  return is.kind === "present" ? { "if-match": "*" } : {};
}

function compareView({ key, is }: Condition): Record<string, unknown> {
  switch (is.kind) {
    case "value":
      return { key, target: "value", op: "=", value: toWire(is.value) };
    case "revision":
      return { key, target: "modRevision", op: "=", value: is.revision };
    case "present":
      return { key, target: "version", op: ">", value: 0 };
  }
}

function stepView(step: Step, group: string): Record<string, unknown> {
  if (step.kind === "list") return { op: "range", prefix: group };
  if (step.kind === "put") return { op: "put", key: step.key, value: toWire(step.value) };
  return { op: step.kind, key: step.key };
}

function read(question: Question, response: Response, text: string): CallOutcome {
  const { status } = response;
  const { route, transaction } = question;
  const revision = Number(response.headers.get("x-overlay-revision") ?? Number.NaN);
  if (status === 412) return told({ succeeded: false, revision: undefined, results: [] });
  if (status === 404 && route === "delete") {
    const results: StepResult[] = [{ kind: "delete", deleted: false }];
    return told({ succeeded: true, revision: undefined, results });
  }
  if (status === 404 && route === "get") {
    return told({ succeeded: true, revision, results: [{ kind: "get", item: null }] });
  }
  if (status !== 200) {
    const why = `${status} ${text.slice(0, 300)}`;
    // What docs/STORE.md promises: 503 and 4xx are never done, anything else may be.
    return { kind: status === 503 || (status >= 400 && status < 500) ? "refused" : "unknown", why };
  }
  switch (route) {
    case "get": {
      const etag = Number(response.headers.get("etag")?.slice(1, -1));
      const item = { value: fromWire(text), revision: etag };
      return told({ succeeded: true, revision, results: [{ kind: "get", item }] });
    }
    case "list": {
      const view = JSON.parse(text) as { readonly items: readonly ItemView[] };
      const results: StepResult[] = [{ kind: "list", items: view.items.map(entryOf) }];
      return told({ succeeded: true, revision, results });
    }
    case "put":
    case "delete": {
      const view = JSON.parse(text) as { readonly revision: number };
      const result: StepResult =
        route === "put" ? { kind: "put" } : { kind: "delete", deleted: true };
      return told({ succeeded: true, revision: view.revision, results: [result] });
    }
    case "txn":
      return told(readTxn(JSON.parse(text) as TxnView, transaction));
  }
}

interface TxnView {
  readonly succeeded: boolean;
  readonly revision: number;
  readonly results: readonly {
    readonly item?: ItemView | null;
    readonly items?: readonly ItemView[];
    readonly deleted?: number;
  }[];
}

function readTxn(view: TxnView, { success, failure }: Transaction): Told {
  const steps = view.succeeded ? success : failure;
  const results = steps.map((step, i) => readResult(step, view.results[i]));
  return { succeeded: view.succeeded, revision: view.revision, results };
}

function readResult(step: Step, result: TxnView["results"][number] | undefined): StepResult {
  switch (step.kind) {
    case "put":
      return { kind: "put" };
    case "delete":
      return { kind: "delete", deleted: result?.deleted === 1 };
    case "get":
      return { kind: "get", item: result?.item ? itemOf(result.item) : null };
    case "list":
      return { kind: "list", items: (result?.items ?? []).map(entryOf) };
  }
}

function told(value: Told): CallOutcome {
  return { kind: "told", told: value };
}

function itemOf({ value, modRevision }: ItemView): Item {
  return { value: fromWire(value), revision: modRevision };
}

function entryOf(view: ItemView): readonly [string, Item] {
  return [view.key, itemOf(view)];
}
