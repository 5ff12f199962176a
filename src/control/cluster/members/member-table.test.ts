import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeTerm, formatNodeId } from "../../../base/ids.ts";
import { kvHandlers } from "../../kv/handlers.ts";
import { createStateMachine } from "../../kv/state-machine.ts";
import { type SystemTxn, systemTxn, type TxnOutcome } from "../../kv/txn.ts";
import { OWN_VERSIONS, putVersions } from "../upgrade/node-versions.ts";
import { putLife } from "./life.ts";
import {
  findMember,
  infoFromRecord,
  infoToRecord,
  isRemoved,
  isSameInfo,
  listMembers,
  memberUnchanged,
  neverRemoved,
  putMember,
  removeMember,
} from "./member-table.ts";
import { putWish } from "./role-wishes.ts";
import { MEMBERS_PREFIX, REMOVED_PREFIX } from "./system-record.ts";

const id = decodeNodeId(0xabc);
const info = {
  name: "node-a",
  address: { host: "fd00::1", port: 8286 },
  publicIp: "192.0.2.7",
  underlayPrefixes: ["192.0.2.0/24"],
  zone: "rack-1",
};
const member = { ...info, id, joinedAtMs: 5, keyHash: "f0" };

/** A store that takes one command after the other. */
function createTable() {
  const machine = createStateMachine(kvHandlers);
  const apply = (command: SystemTxn): boolean => {
    const context = {
      index: decodeIndex(machine.appliedIndex + 1),
      term: decodeTerm(1),
      proposedAtMs: 0,
      request: undefined,
    };
    const outcome = machine.apply(command, context).outcome as TxnOutcome;
    return outcome.kind === "done" && outcome.succeeded;
  };
  return { reader: machine.reader, apply };
}

describe("the members table", () => {
  test("gives back what was put", () => {
    const { reader, apply } = createTable();
    expect(apply(systemTxn({ success: [putMember(member)] }))).toBeTrue();
    expect(findMember(reader, id)).toEqual({ ...member, modRevision: 1 });
    expect(listMembers(reader).length).toBe(1);
    expect(findMember(reader, decodeNodeId(1))).toBeUndefined();
  });

  test("an id that was removed stays so, and nobody takes it again", () => {
    const { reader, apply } = createTable();
    const join = systemTxn({
      compare: [memberUnchanged(id, 0), neverRemoved(id)],
      success: [putMember(member)],
    });
    expect(apply(join)).toBeTrue();
    expect(apply(join)).toBeFalse();
    const stored = findMember(reader, id)!;
    expect(apply(removeMember(stored, 9))).toBeTrue();
    expect(findMember(reader, id)).toBeUndefined();
    expect(isRemoved(reader, id)).toBeTrue();
    expect(apply(join)).toBeFalse();
    expect(apply(removeMember(stored, 9))).toBeFalse();
  });

  test("a removal leaves nothing of the node but that it was removed", () => {
    const { reader, apply } = createTable();
    apply(
      systemTxn({
        success: [
          putMember(member),
          putVersions(id, OWN_VERSIONS),
          putLife(id, { number: 1, nonce: "0a" }),
        ],
      }),
    );
    apply(putWish(findMember(reader, id)!, "standby"));
    const keys = () => [...reader.list("/overlay/")].map(({ key }) => key);
    expect(keys()).toHaveLength(4);
    expect(apply(removeMember(findMember(reader, id)!, 9))).toBeTrue();
    expect(keys()).toEqual([`${REMOVED_PREFIX}${formatNodeId(id)}`]);
  });

  test("a removal that has not seen the newest record does nothing", () => {
    const { reader, apply } = createTable();
    apply(systemTxn({ success: [putMember(member)] }));
    const stale = findMember(reader, id)!;
    apply(systemTxn({ success: [putMember({ ...member, name: "renamed" })] }));
    expect(apply(removeMember(stale, 9))).toBeFalse();
    expect(findMember(reader, id)?.name).toBe("renamed");
  });

  test("leaves out records that it cannot read", () => {
    const { reader, apply } = createTable();
    for (const [key, text] of [
      [formatNodeId(decodeNodeId(1)), "no JSON"],
      [formatNodeId(decodeNodeId(2)), "{}"],
      ["not-an-id", "{}"],
    ]) {
      const value = new TextEncoder().encode(text);
      apply(systemTxn({ success: [{ kind: "put", key: `${MEMBERS_PREFIX}${key}`, value }] }));
    }
    expect(listMembers(reader)).toEqual([]);
  });
});

describe("what a node says about itself", () => {
  test("survives", () => {
    expect(infoFromRecord(infoToRecord(info))).toEqual(info);
    expect(isSameInfo(info, { ...info, underlayPrefixes: [...info.underlayPrefixes] })).toBeTrue();
  });

  const wrong = [
    { why: "no name", change: { name: "" } },
    { why: "a name that would break a line", change: { name: "a\nb" } },
    { why: "a name that is too long", change: { name: "x".repeat(254) } },
    { why: "no address", change: { address: "" } },
    { why: "a public address that is none", change: { publicIp: "192.0.2" } },
    { why: "a public address that is not canonical", change: { publicIp: "FD00::1" } },
    { why: "a prefix that is none", change: { underlayPrefixes: ["192.0.2.0"] } },
    { why: "a prefix with host bits", change: { underlayPrefixes: ["192.0.2.1/24"] } },
    { why: "prefixes that are no list", change: { underlayPrefixes: "192.0.2.0/24" } },
  ];
  for (const { why, change } of wrong) {
    test(`is refused with ${why}`, () => {
      expect(infoFromRecord({ ...infoToRecord(info), ...change })).toBeUndefined();
    });
  }

  test("differs when anything differs", () => {
    expect(isSameInfo(info, { ...info, name: "b" })).toBeFalse();
    expect(isSameInfo(info, { ...info, publicIp: "" })).toBeFalse();
    expect(isSameInfo(info, { ...info, address: { host: "fd00::1", port: 1 } })).toBeFalse();
    expect(isSameInfo(info, { ...info, underlayPrefixes: [] })).toBeFalse();
    expect(isSameInfo(info, { ...info, underlayPrefixes: ["10.0.0.0/8"] })).toBeFalse();
  });
});
