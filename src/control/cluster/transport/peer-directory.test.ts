import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../tests/support/manual-clock.ts";
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../../base/ids.ts";
import { createSilentLog } from "../../../base/log.ts";
import { kvHandlers } from "../../kv/handlers.ts";
import { createStateMachine } from "../../kv/state-machine.ts";
import { type SystemTxn, systemTxn } from "../../kv/txn.ts";
import { configOf } from "../../raft/test-cluster.ts";
import { findMember, putMember, removeMember } from "../members/member-table.ts";
import { PeerDirectory } from "./peer-directory.ts";

const [SELF, OLD, NEW] = [1, 2, 3].map(decodeNodeId) as [NodeId, NodeId, NodeId];
const AT = { host: "192.0.2.3", port: 8286 };

/** A spare whose state is old: it knows itself and the only voter of then. */
function openDirectory() {
  const machine = createStateMachine(kvHandlers);
  const state = { leader: undefined as NodeId | undefined };
  const directory = new PeerDirectory({
    ...{ nodeId: SELF, reader: machine.reader, known: [], log: createSilentLog() },
    clock: new ManualClock(),
    confState: () => configOf([OLD]),
    leader: () => state.leader,
    save: () => Promise.resolve(),
  });
  const apply = (command: SystemTxn) => {
    const index = decodeIndex(machine.appliedIndex + 1);
    const context = { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined };
    directory.changed(machine.apply(command, context).events);
  };
  const add = (id: NodeId, host: string) => {
    const member = { id, name: `n${id}`, address: { host, port: 8286 }, publicIp: "", zone: "" };
    const rest = { underlayPrefixes: [], joinedAtMs: 0, keyHash: "00" };
    apply(systemTxn({ success: [putMember({ ...member, ...rest })] }));
  };
  add(SELF, "192.0.2.1");
  add(OLD, "192.0.2.2");
  return { directory, state, apply, add, reader: machine.reader };
}

describe("a member that came while this node was away", () => {
  test("is found where another one says, and may feed this node while that has no leader", () => {
    const { directory, state } = openDirectory();
    expect([directory.addressOf(NEW), directory.standing(NEW)]).toEqual([undefined, "unknown"]);
    directory.located(NEW, AT);
    expect(directory.addressOf(NEW)).toEqual(AT);
    expect(directory.standing(NEW)).toBe("member");
    state.leader = OLD; // A leader of the membership that is known here: it is up to date.
    expect(directory.standing(NEW)).toBe("unknown");
  });

  test("is no more than its record says, once there is one", () => {
    const { directory, add, apply, reader } = openDirectory();
    directory.located(OLD, AT);
    expect(directory.addressOf(OLD)?.host).toBe("192.0.2.2");
    directory.located(NEW, AT);
    add(NEW, "192.0.2.4");
    expect(directory.addressOf(NEW)?.host).toBe("192.0.2.4");
    apply(removeMember(findMember(reader, NEW)!, 0));
    directory.located(NEW, AT);
    expect([directory.addressOf(NEW), directory.standing(NEW)]).toEqual([undefined, "removed"]);
  });

  test("is one of a few: who says more is forgotten first", () => {
    const { directory } = openDirectory();
    directory.located(NEW, AT);
    for (let id = 100; id < 1_000; id++) directory.located(decodeNodeId(id), AT);
    expect(directory.addressOf(NEW)).toBeUndefined();
    expect(directory.addressOf(decodeNodeId(999))).toEqual(AT);
  });
});
