import { expect, test } from "bun:test";
import { decodeNodeId } from "../../base/ids.ts";
import { OUTCOME_SIZE_MAX_BYTES } from "./limits.ts";
import { RequestTable } from "./requests.ts";

const LIMITS = { outcomesMax: 4, outcomesSizeMaxBytes: 1000, clientsMax: 3 };
const FORGOTTEN = { outcome: { kind: "request_forgotten" } };

function id(client: number, sequence: number) {
  return { client: decodeNodeId(client), sequence };
}

/** A table that went through a snapshot. */
function reloaded(table: RequestTable): RequestTable {
  const copy = new RequestTable(LIMITS);
  for (const client of table.clients()) copy.loadClient(client);
  for (const outcome of table.outcomes()) copy.load(outcome);
  return copy;
}

test("RequestTable: a request is unknown until remembered, then its outcome is found", () => {
  const table = new RequestTable(LIMITS);
  expect(table.find(id(1, 5))).toBeUndefined();
  table.remember(id(1, 5), { kind: "done" });
  expect(table.find(id(1, 5))?.outcome).toEqual({ kind: "done" });
  expect(table.find(id(2, 5))).toBeUndefined();
});

test("RequestTable: a request that comes later with a lower sequence is still new", () => {
  const table = new RequestTable(LIMITS);
  table.remember(id(1, 9), "nine");
  expect(table.find(id(1, 8))).toBeUndefined();
  table.remember(id(1, 8), "eight");
  expect(table.find(id(1, 8))?.outcome).toBe("eight");
  expect(table.find(id(1, 9))?.outcome).toBe("nine");
});

test("RequestTable: an outcome pushed out is forgotten, and so is all below it", () => {
  const table = new RequestTable(LIMITS);
  for (let sequence = 10; sequence < 15; sequence++) table.remember(id(1, sequence), sequence);
  expect(table.find(id(1, 10))).toEqual(FORGOTTEN);
  // Never seen, but nobody can tell any more: refusing is safe, applying is not.
  expect(table.find(id(1, 3))).toEqual(FORGOTTEN);
  expect(table.find(id(1, 11))?.outcome).toBe(11);
  expect(table.find(id(1, 15))).toBeUndefined();
});

test("RequestTable: outcomes are bounded by size too", () => {
  const table = new RequestTable(LIMITS);
  table.remember(id(1, 1), "x".repeat(600));
  table.remember(id(1, 2), "x".repeat(600));
  expect(table.find(id(1, 1))).toEqual(FORGOTTEN);
  expect(table.find(id(1, 2))?.outcome).toBe("x".repeat(600));
});

test("RequestTable: an outcome over its limit is not kept, the request still counts", () => {
  const table = new RequestTable();
  table.remember(id(1, 1), new Uint8Array(OUTCOME_SIZE_MAX_BYTES + 1));
  expect(table.find(id(1, 1))).toMatchObject(FORGOTTEN);
});

test("RequestTable: the client that was silent longest goes first", () => {
  const table = new RequestTable(LIMITS);
  table.remember(id(1, 1), "a");
  table.remember(id(2, 1), "b");
  table.remember(id(3, 1), "c");
  table.remember(id(1, 2), "d");
  table.remember(id(4, 1), "e");
  expect(table.clients().map(({ client }) => Number(client))).toEqual([3, 1, 4]);
  expect(table.find(id(1, 2))?.outcome).toBe("d");
  expect(table.find(id(4, 1))?.outcome).toBe("e");
});

test("RequestTable: a reloaded table forgets the same and has the same digest ever after", () => {
  const table = new RequestTable(LIMITS);
  for (let i = 0; i < 40; i++) {
    table.remember(id(1 + ((i * 5) % 4), i), i % 7 === 0 ? "x".repeat(700) : i);
    const copy = reloaded(table);
    expect(copy.digest([1])).toBe(table.digest([1]));
    expect([...copy.outcomes()]).toEqual([...table.outcomes()]);
    expect(copy.clients()).toEqual(table.clients());
    copy.remember(id(9, i), "new");
    const other = reloaded(table);
    other.remember(id(9, i), "new");
    expect(copy.digest([1])).toBe(other.digest([1]));
  }
});

test("RequestTable: the outcomes handed out are those of that moment", () => {
  const table = new RequestTable(LIMITS);
  for (let sequence = 0; sequence < 4; sequence++) table.remember(id(1, sequence), sequence);
  const then = table.outcomes();
  const sequences = () => [...then].map(({ sequence }) => sequence);
  expect(sequences()).toEqual([0, 1, 2, 3]);
  for (let sequence = 4; sequence < 20; sequence++) table.remember(id(1, sequence), sequence);
  expect(sequences()).toEqual([0, 1, 2, 3]);
});
