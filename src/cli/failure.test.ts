/**
 * Every failure that a client can meet, as one line and an exit code.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import type { ClientFailure } from "../admin/ask.ts";
import { exitCodeOf, explainFailure } from "./failure.ts";

const plan = {
  effect: "renumber",
  kept: [],
  renumbered: [
    { subnet: "10.0.53.0/24", node: "web1" },
    { subnet: "10.0.91.0/24", node: "web2" },
  ],
  capacity: 255,
} as const;
const errors = [
  { path: "Network", message: "too small" },
  { path: "", message: "odd" },
];

type Row = { readonly [Kind in ClientFailure["kind"]]: readonly [number, ClientFailure, string] };
/** A row for each kind; the detail is "d" where the kind does not make its own. */
const ROWS: Row = {
  no_agent: [3, { kind: "no_agent", detail: "d" }, "Cannot do it: d"],
  no_answer: [4, { kind: "no_answer", detail: "d" }, "Cannot do it: d"],
  bad_answer: [1, { kind: "bad_answer", detail: "d" }, "Cannot do it: d"],
  timeout: [4, { kind: "timeout", detail: "d" }, "Cannot do it: d; see with"],
  no_leader: [4, { kind: "no_leader", detail: "d" }, "Cannot do it: d; try again"],
  no_quorum: [4, { kind: "no_quorum", detail: "d" }, "Cannot do it: d; try again"],
  overloaded: [4, { kind: "overloaded", detail: "d" }, "Cannot do it: d; try again"],
  upgrade_needed: [1, { kind: "upgrade_needed", detail: "d" }, "Cannot do it: d"],
  has_quorum: [1, { kind: "has_quorum", detail: "d" }, "Cannot do it: d"],
  no_config: [1, { kind: "no_config", detail: "d" }, "Cannot do it: d; set one: overlay config"],
  invalid_config: [
    1,
    { kind: "invalid_config", detail: "d", errors },
    "Cannot do it: Network: too small, odd",
  ],
  revision_mismatch: [
    1,
    { kind: "revision_mismatch", detail: "d", revision: 3 },
    "Cannot do it: d; look at it",
  ],
  reservation_refused: [
    1,
    { kind: "reservation_refused", detail: "d", errors },
    "Cannot do it: Network: too small, odd",
  ],
  would_renumber: [
    1,
    { kind: "would_renumber", detail: "d", plan },
    "Cannot do it: 2 leases would get another subnet: web1 (10.0.53.0/24), web2 (10.0.91.0/24); " +
      "repeat it with --renumber if that is wanted",
  ],
  invalid_json: [
    1,
    { kind: "invalid_json", detail: "Cannot read the body of the request: not JSON at line 1" },
    "Cannot do it: not JSON at line 1",
  ],
  invalid_request: [
    1,
    { kind: "invalid_request", detail: "Cannot read the path of the request: id: odd", errors },
    "Cannot do it: id: odd",
  ],
  not_found: [1, { kind: "not_found", detail: "d" }, "Cannot do it: d"],
  method_not_allowed: [
    1,
    { kind: "method_not_allowed", detail: "d", allow: [] },
    "Cannot do it: d",
  ],
  payload_too_large: [1, { kind: "payload_too_large", detail: "d" }, "Cannot do it: d"],
  unsupported_media_type: [1, { kind: "unsupported_media_type", detail: "d" }, "Cannot do it: d"],
  unauthorized: [1, { kind: "unauthorized", detail: "d" }, "Cannot do it: d"],
  socket_only: [1, { kind: "socket_only", detail: "d" }, "Cannot do it: d"],
  forbidden_origin: [1, { kind: "forbidden_origin", detail: "d" }, "Cannot do it: d"],
  forbidden_host: [1, { kind: "forbidden_host", detail: "d" }, "Cannot do it: d"],
  invalid_token: [1, { kind: "invalid_token", detail: "d" }, "Cannot do it: d; get a new token"],
  already_member: [1, { kind: "already_member", detail: "d" }, "Cannot do it: d; repeat it with"],
  join_refused: [1, { kind: "join_refused", detail: "d" }, "Cannot do it: d"],
  pin_mismatch: [1, { kind: "pin_mismatch", detail: "d" }, "Cannot do it: d; check the address"],
  peer_unreachable: [1, { kind: "peer_unreachable", detail: "d" }, "Cannot do it: d; check the"],
  peer_not_overlay: [1, { kind: "peer_not_overlay", detail: "d" }, "Cannot do it: d; check the"],
  last_member: [1, { kind: "last_member", detail: "d" }, "Cannot do it: d"],
  rotation_refused: [1, { kind: "rotation_refused", detail: "d" }, "Cannot do it: d"],
  member_refused: [1, { kind: "member_refused", detail: "d" }, "Cannot do it: d"],
  internal_error: [1, { kind: "internal_error", detail: "d" }, "Cannot do it: d"],
  reserved_key: [1, { kind: "reserved_key", detail: "d" }, "Cannot do it: d"],
  invalid_key: [1, { kind: "invalid_key", detail: "d" }, "Cannot do it: d"],
  invalid_ttl: [1, { kind: "invalid_ttl", detail: "d" }, "Cannot do it: d"],
  key_too_large: [1, { kind: "key_too_large", detail: "d", limitBytes: 1 }, "Cannot do it: d"],
  value_too_large: [1, { kind: "value_too_large", detail: "d", limitBytes: 1 }, "Cannot do it: d"],
  request_too_large: [
    1,
    { kind: "request_too_large", detail: "d", limitBytes: 1 },
    "Cannot do it: d",
  ],
  response_too_large: [
    1,
    { kind: "response_too_large", detail: "d", limitBytes: 1 },
    "Cannot do it: d",
  ],
  too_many_operations: [
    1,
    { kind: "too_many_operations", detail: "d", limit: 128 },
    "Cannot do it: d",
  ],
  too_many_keys: [1, { kind: "too_many_keys", detail: "d", limit: 1 }, "Cannot do it: d"],
  compacted: [1, { kind: "compacted", detail: "d", oldestRevision: 7 }, "Cannot do it: d"],
  future_revision: [1, { kind: "future_revision", detail: "d", revision: 7 }, "Cannot do it: d"],
};

describe("failures", () => {
  for (const [kind, [code, failure, line]] of Object.entries(ROWS)) {
    test(`${kind}: exit code ${code}, "${line}"`, () => {
      expect(failure.kind).toBe(kind as ClientFailure["kind"]);
      expect(exitCodeOf(failure)).toBe(code);
      const told = explainFailure("do it", failure);
      expect(told).toStartWith(line);
      expect(told).not.toEndWith(".");
    });
  }

  test("a detail that is a whole sentence is told as it is, next step and all", () => {
    const detail = "Cannot join: the token has expired; make a new one";
    expect(explainFailure("do it", { kind: "invalid_token", detail })).toBe(detail);
    const short = "Cannot join: the token has expired";
    expect(explainFailure("do it", { kind: "invalid_token", detail: short })).toStartWith(
      `${short}; get a new token`,
    );
  });

  test("what was typed is told, not the write that it takes", () => {
    const detail = "Cannot write to the cluster: no majority answers; start the other voters";
    expect(explainFailure("leave the cluster", { kind: "no_quorum", detail })).toBe(
      "Cannot leave the cluster: no majority answers; start the other voters",
    );
  });

  test("a detail of several lines or with codes becomes one plain line", () => {
    const detail = "a\nb\u001b[2J";
    expect(explainFailure("do it", { kind: "not_found", detail })).toBe(
      "Cannot do it: a b\ufffd[2J",
    );
  });
});
