import { expect, test } from "bun:test";
import { decodeNodeId, decodeTerm, formatNodeId } from "../../base/ids.ts";
import { traceFields } from "./trace-fields.ts";

test("trace fields: plain facts, nodes as people write them, nested facts left out", () => {
  const target = decodeNodeId(2 ** 40 + 7);
  const fields = traceFields({ kind: "transfer_started", target, term: decodeTerm(3) });
  expect(fields).toEqual({ target: formatNodeId(target), term: 3 });
  expect(traceFields({ kind: "quorum_lost" })).toEqual({});
});
