/**
 * What the store refuses, as problems of the API: each names the limit or rule that was broken.
 *
 * @module
 */
import { unreachable } from "../base/assert.ts";
import { VALUE_SIZE_MAX_BYTES } from "../control/kv/limits.ts";
import { SYSTEM_PREFIX, type TxnRefusal } from "../control/kv/txn.ts";
import type { CommandRefusal } from "../control/kv/types.ts";
import type { ClusterFailure } from "./service.ts";

/** Failures that only the routes of the store know. */
export type KvProblem =
  | { readonly kind: "reserved_key"; readonly detail: string }
  | { readonly kind: "invalid_key"; readonly detail: string }
  | { readonly kind: "invalid_ttl"; readonly detail: string }
  | { readonly kind: SizeKind; readonly detail: string; readonly limitBytes: number }
  | { readonly kind: CountKind; readonly detail: string; readonly limit: number }
  | { readonly kind: "compacted"; readonly detail: string; readonly oldestRevision: number }
  | { readonly kind: "future_revision"; readonly detail: string; readonly revision: number };

type SizeKind = "key_too_large" | "value_too_large" | "request_too_large" | "response_too_large";
type CountKind = "too_many_operations" | "too_many_keys";

/** Why a transaction was not done. */
export function refusalProblem(refusal: TxnRefusal | CommandRefusal): KvProblem | ClusterFailure {
  const { kind } = refusal;
  switch (kind) {
    case "reserved_key": {
      const rule = `keys under "${SYSTEM_PREFIX}" belong to the system; choose another one`;
      return { kind, detail: `Cannot change "${refusal.key}": ${rule}` };
    }
    case "invalid_key": {
      const rule = "a key is Unicode text and not empty";
      return { kind, detail: `Cannot use the key ${JSON.stringify(refusal.key)}: ${rule}` };
    }
    case "invalid_ttl": {
      const { ttlSeconds, minSeconds, maxSeconds } = refusal;
      const range = `the limits are ${minSeconds} and ${maxSeconds} seconds`;
      return { kind, detail: `Cannot let a key live for ${ttlSeconds} seconds: ${range}` };
    }
    case "key_too_large":
      return tooLarge(kind, "use a key", refusal);
    case "value_too_large":
      return tooLarge(kind, "store a value", refusal);
    case "request_too_large":
      return tooLarge(kind, "do a transaction", refusal);
    case "response_too_large": {
      const { limitBytes } = refusal;
      const detail = `Cannot answer all that is asked for: the limit is ${limitBytes} bytes`;
      return { kind, detail: `${detail}; ask for less at a time`, limitBytes };
    }
    case "too_many_operations": {
      const { count, limit } = refusal;
      const detail =
        `Cannot do a transaction with ${count} operations or comparisons: ` +
        `the limit is ${limit} of each`;
      return { kind, detail, limit };
    }
    case "too_many_keys": {
      const { limit } = refusal;
      const detail = `Cannot delete so many keys at once: the limit is ${limit}; use a longer prefix`;
      return { kind, detail, limit };
    }
    default:
      return commandProblem(refusal);
  }
}

/** Why no command of its kind can be done, or nobody knows whether this one was. */
export function commandProblem(refusal: CommandRefusal): ClusterFailure {
  const { kind } = refusal;
  switch (kind) {
    case "malformed_command": {
      const detail = `the cluster answered ${kind}; update all nodes to one version and try again`;
      return { kind: "overloaded", detail: `Cannot change the store: ${detail}` };
    }
    case "request_forgotten": {
      const detail = "it took so long that nobody knows whether it was done; look before repeating";
      return { kind: "timeout", detail: `Cannot change the store: ${detail}` };
    }
    default:
      return unreachable(kind);
  }
}

/** A body is larger than a value may be; how much larger was not looked at. */
export function valueTooLarge(): KvProblem {
  const limitBytes = VALUE_SIZE_MAX_BYTES;
  const detail = `Cannot store the value: the limit is ${limitBytes} bytes (1 MiB)`;
  return { kind: "value_too_large", detail, limitBytes };
}

/** A revision that is no longer kept. */
export function compactedProblem(revision: number, oldestRevision: number): KvProblem {
  const detail =
    `Cannot go back to revision ${revision}: it is compacted, the oldest one here is ` +
    `${oldestRevision}; read the present, and watch from the revision of that`;
  return { kind: "compacted", detail, oldestRevision };
}

/** A revision that is still to come. */
export function futureProblem(wanted: number, revision: number): KvProblem {
  const detail = `Cannot know of revision ${wanted}: the store is at revision ${revision}`;
  return { kind: "future_revision", detail, revision };
}

function tooLarge(
  kind: SizeKind,
  action: string,
  size: { readonly sizeBytes: number; readonly limitBytes: number },
): KvProblem {
  const { sizeBytes, limitBytes } = size;
  const detail = `Cannot ${action} of ${sizeBytes} bytes: the limit is ${limitBytes} bytes`;
  return { kind, detail, limitBytes };
}
