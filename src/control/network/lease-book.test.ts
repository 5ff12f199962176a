import { expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { AssertionError } from "../../base/assert.ts";
import { decodeNodeId, decodeRevision } from "../../base/ids.ts";
import { Store } from "../kv/store.ts";
import { leaseKey, nodeKey } from "./keys.ts";
import { LeaseBook } from "./lease-book.ts";

const backend = { kind: "udp", port: 8285, partialChecksum: false } as const;
const attributes = { publicIp: parseAddress("192.0.2.1")!, publicIpv6: null, backend };
const subnet = (n: number) => parsePrefix(`10.0.${n}.0/24`)!;
const node = decodeNodeId;

/** A store with leases of nodes 1 to `count`, node n holding 10.0.n.0/24. */
function bookOf(count: number, rememberedMax?: number) {
  const store = new Store(decodeRevision(0));
  const book = new LeaseBook(store, rememberedMax);
  const grant = (id: number, at: number) =>
    book.grant({ subnet: subnet(at), node: node(id), attributes, ttlSeconds: 60 });
  for (let id = 1; id <= count; id++) {
    grant(id, id);
    store.commit();
  }
  return { store, book, grant };
}

test("LeaseBook: beyond the limit the lease that expired first is forgotten", () => {
  const { store, book } = bookOf(4, 2);
  for (const id of [3, 1, 4]) {
    book.expire(book.ofNode(node(id))!);
    store.commit();
  }
  expect([...book.expired()].map(({ node }) => Number(node))).toEqual([1, 4]);
  expect(book.ofNode(node(3))).toBeUndefined();
  expect(book.has(subnet(3))).toBe(false);
  expect(book.usage()).toEqual({ held: 1, expired: 2 });
});

test("LeaseBook: a node that gets another subnet gives up the one it had", () => {
  const { book, grant } = bookOf(1);
  grant(1, 7);
  expect(book.ofNode(node(1))?.subnet).toBe(subnet(7));
  expect(book.has(subnet(1))).toBe(false);
  expect(book.usage()).toEqual({ held: 1, expired: 0 });
});

test("LeaseBook: leases that expire and return within one command leave no trace", () => {
  const { store, book, grant } = bookOf(1);
  const before = book.ofNode(node(1))!;
  book.expire(before);
  grant(1, 1);
  store.commit();
  expect([...book.expired()]).toEqual([]);
  expect(book.ofNode(node(1))).toMatchObject({ state: "held", grantRevision: 1, epoch: 2 });
});

test("LeaseBook: broken invariants crash, they are our bugs", () => {
  const held = bookOf(1);
  expect(() => held.grant(2, 1)).toThrow(AssertionError);
  const lease = held.book.ofNode(node(1))!;
  held.book.expire(lease);
  expect(() => held.book.expire({ ...lease, state: "expired" })).toThrow(AssertionError);
  expect(() => held.book.renew({ ...lease, state: "expired" }, attributes, 60)).toThrow();
  const noIndex = bookOf(1);
  noIndex.store.delete(nodeKey(node(1)));
  expect(() => noIndex.book.remove(lease)).toThrow(AssertionError);
  const noLease = bookOf(1);
  noLease.store.delete(leaseKey(subnet(1)));
  expect(() => noLease.book.ofNode(node(1))).toThrow(AssertionError);
  const unreadable = bookOf(1);
  unreadable.store.put(leaseKey(subnet(1)), new Uint8Array(3));
  expect(() => unreadable.book.get(subnet(1))).toThrow(AssertionError);
});
