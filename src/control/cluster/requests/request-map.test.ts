import { expect, test } from "bun:test";
import { decodeNodeId } from "../../../base/ids.ts";
import { RequestMap } from "./request-map.ts";

const id = (client: number, sequence: number) => ({ client: decodeNodeId(client), sequence });

test("request map: holds what was set, by both parts of the id", () => {
  const map = new RequestMap<string>();
  map.set(id(1, 7), "a");
  map.set(id(2, 7), "b");
  map.set(id(1, 8), "c");
  map.set(id(1, 8), "d");
  expect(map.size).toBe(3);
  expect([map.get(id(1, 7)), map.get(id(2, 7)), map.get(id(1, 8))]).toEqual(["a", "b", "d"]);
  expect(map.get(id(3, 7))).toBeUndefined();
  expect(map.delete(id(1, 7))).toBeTrue();
  expect(map.delete(id(1, 7))).toBeFalse();
  expect([...map.values()].sort()).toEqual(["b", "d"]);
  expect(map.size).toBe(2);
  map.clear();
  expect([map.size, ...map.values()]).toEqual([0]);
});

test("request map: what is deleted during a walk does not disturb it", () => {
  const map = new RequestMap<number>();
  for (let i = 0; i < 30; i++) map.set(id(1 + (i % 3), i), i);
  const seen: number[] = [];
  for (const value of map.values()) {
    seen.push(value);
    map.delete(id(1 + (value % 3), value));
  }
  expect(seen.length).toBe(30);
  expect(map.size).toBe(0);
});
