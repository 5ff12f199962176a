import { describe, expect, test } from "bun:test";
import { createSilentLog } from "../base/log.ts";
import { OFFLOAD, OFFLOAD_FAILED_IN_USE } from "../dataplane/forward/offload-state.ts";
import { OffloadControl, type OffloadControlOptions } from "./offload-control.ts";
import { parseOffloadNames } from "./offload-names.ts";
import { testSocketOffloads } from "./offload-test.ts";

const EIO = 5;
const EBADMSG = 74;
const EOPNOTSUPP = 95;

function open(change: Partial<OffloadControlOptions> = {}) {
  const calls: string[] = [];
  const control = new OffloadControl({
    tun: {
      tso: true,
      uso: true,
      refusedErrno: 0,
      setOffloads: ({ tso, uso }) => {
        calls.push(`tun ${tso} ${uso}`);
        return 0;
      },
    },
    socket: { fd: 3, gsoErrno: 0, groErrno: 0 },
    test: { gsoErrno: 0, groErrno: 0 },
    forbidden: [],
    setJoining: (fd, isOn) => {
      calls.push(`joining ${isOn}${fd === 3 ? "" : ` on ${fd}`}`);
      return 0;
    },
    log: createSilentLog(),
    ...change,
  });
  return { control, calls };
}

const ALL = ["tso", "uso", "gso", "gro", "tcp_join", "udp_join"];

describe("OffloadControl", () => {
  test("all that the kernel offers is used", () => {
    const { control, calls } = open();
    expect(control.report()).toEqual({ on: ALL, off: [] });
    expect(calls).toEqual([]);
  });

  test("Linux 5.4: no USO, and nothing more is asked of the TUN", () => {
    const { control } = open({
      tun: { tso: true, uso: false, refusedErrno: 22, setOffloads: () => 0 },
      socket: { fd: 3, gsoErrno: 0, groErrno: 92 },
    });
    const reason = "the kernel does not offer it";
    expect(control.report()).toEqual({
      on: ["tso", "gso", "tcp_join"],
      off: [
        { name: "uso", reason: `${reason} (EINVAL)` },
        { name: "gro", reason: `${reason} (ENOPROTOOPT)` },
        { name: "udp_join", reason: `${reason} (EINVAL)` },
      ],
    });
  });

  test("what its test found broken is off, and the socket is told", () => {
    const { control, calls } = open({ test: { gsoErrno: EIO, groErrno: EBADMSG } });
    expect(control.report().off).toEqual([
      { name: "gso", reason: "its test at start failed with EIO" },
      { name: "gro", reason: "its test at start moved wrong bytes" },
    ]);
    expect(calls).toEqual(["joining false"]);
  });

  test("what the operator does not want is off, and the kernel is told", () => {
    const { control, calls } = open({ forbidden: ["tso", "gro"] });
    expect(control.report().off.map(({ name }) => name)).toEqual(["tso", "gro"]);
    expect(control.report().off[0]!.reason).toBe("switched off by --offloads-off");
    expect(calls).toEqual(["joining false", "tun false false"]);
  });

  test("failed in use: switched in the kernel, rests, is tried again, rests longer", () => {
    const { control, calls } = open();
    const fail = () => {
      control.states[OFFLOAD.GRO] = EBADMSG | OFFLOAD_FAILED_IN_USE;
    };
    const isOn = () => control.report().on.includes("gro");
    fail();
    control.tend(0);
    expect([isOn(), calls.splice(0)]).toEqual([false, ["joining false"]]);
    control.tend(59_999);
    expect([isOn(), calls]).toEqual([false, []]);
    control.tend(60_000);
    expect([isOn(), calls.splice(0)]).toEqual([true, ["joining true"]]);
    fail();
    control.tend(61_000);
    control.tend(61_000 + 119_999);
    expect([isOn(), calls.splice(0)]).toEqual([false, ["joining false"]]);
    control.tend(61_000 + 120_000);
    expect(isOn()).toBe(true);
  });

  test("the surroundings change: tried again at once", () => {
    const { control } = open();
    control.states[OFFLOAD.GSO] = EIO | OFFLOAD_FAILED_IN_USE;
    control.tend(0);
    control.forgive();
    control.tend(1);
    expect(control.report().off).toEqual([]);
  });

  test("what is missing, broken at start or forbidden is never tried again", () => {
    const { control } = open({
      socket: { fd: 3, gsoErrno: EOPNOTSUPP, groErrno: 0 },
      test: { gsoErrno: 0, groErrno: EIO },
      forbidden: ["uso"],
    });
    control.forgive();
    control.tend(1e9);
    expect(control.report().off.map(({ name }) => name)).toEqual(["uso", "gso", "gro"]);
  });
});

test("parseOffloadNames: a list, all, none, or a mistake", () => {
  expect(parseOffloadNames("gso, gro")).toEqual(["gso", "gro"]);
  expect(parseOffloadNames("all") as string[]).toEqual(ALL);
  expect(parseOffloadNames("none")).toEqual([]);
  for (const wrong of ["gso,lro", "", "gso,"]) expect(parseOffloadNames(wrong)).toBeUndefined();
});

test("the test at start, on this machine's own kernel: nothing is found broken", () => {
  for (const family of [4, 6] as const) {
    expect(testSocketOffloads(family)).toEqual({ gsoErrno: 0, groErrno: 0 });
  }
});
