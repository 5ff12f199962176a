import { describe, expect, test } from "bun:test";
import { decodeLinkIndex } from "../../base/ids.ts";
import { createExchange } from "../netlink/exchange.ts";
import { enterNewNetwork } from "../sys/namespace.ts";
import { openNetlinkSocket } from "../sys/netlink-socket.ts";
import { loadProgram, openMap, possibleCoreCount, runProgram } from "./bpf-call.ts";
import { attachProgram, detachProgram, isOurFilter, listFilters } from "./traffic-control.ts";

const HASH = 1;
const PERCPU_ARRAY = 6;
const LOOPBACK = decodeLinkIndex(1);
/** r0 = -1; exit */
const PASS_CODE = Uint8Array.from([0xb7, 0, 0, 0, 255, 255, 255, 255, 0x95, 0, 0, 0, 0, 0, 0, 0]);

function obstacle(): string {
  if (process.getuid?.() !== 0) return " [skipped: needs root]";
  try {
    loadProgram({ name: "trial", code: PASS_CODE })[Symbol.dispose]();
    return "";
  } catch {
    return " [skipped: needs the right to load BPF programs]";
  }
}

const skipReason = obstacle();
const rootTest = (name: string, body: () => void) =>
  test.skipIf(skipReason !== "")(name + skipReason, body);

const key = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

describe("maps", () => {
  const spec = { name: "trial", keySize: 4, valueSize: 6, entryCountMax: 4, flags: 0 };

  rootTest("elements are made, replaced, read and taken away", () => {
    using map = openMap({ ...spec, type: HASH, copies: 1 });
    expect(map.get(key(1))).toBeUndefined();
    map.set(key(1), Uint8Array.of(1, 2, 3, 4, 5, 6));
    map.set(key(1), Uint8Array.of(6, 5, 4, 3, 2, 1));
    expect(map.get(key(1))).toEqual(Uint8Array.of(6, 5, 4, 3, 2, 1));
    expect([map.delete(key(1)), map.delete(key(1))]).toEqual([true, false]);
  });

  rootTest("a map per core gives a copy for each, rounded up to 8 bytes", () => {
    const copies = possibleCoreCount();
    using map = openMap({ ...spec, type: PERCPU_ARRAY, copies });
    expect(map.get(key(0))).toEqual(new Uint8Array(8 * copies));
  });

  rootTest("a full map, and one that cannot be, say why", () => {
    using map = openMap({ ...spec, type: HASH, copies: 1 });
    for (let at = 0; at < 4; at++) map.set(key(at), new Uint8Array(6));
    expect(() => map.set(key(4), new Uint8Array(6))).toThrow('Cannot write BPF map "trial": E2BIG');
    const none = { ...spec, type: HASH, copies: 1, entryCountMax: 0 };
    expect(() => openMap(none)).toThrow('Cannot make BPF map "trial": EINVAL');
  });
});

describe("programs", () => {
  rootTest("a program runs over a packet and leaves it as it is", () => {
    using program = loadProgram({ name: "trial", code: PASS_CODE });
    const packet = Uint8Array.from({ length: 60 }, (_, at) => at);
    expect(runProgram(program, packet)).toEqual({ verdict: -1, packet });
  });

  rootTest("a refused program: the verifier's own words", () => {
    const code = PASS_CODE.slice();
    code.set([0xbf, 0x20, 0, 0, 0, 0, 0, 0]); // r0 = r2, which nobody has set.
    const load = () => loadProgram({ name: "trial", code });
    expect(load).toThrow(/^Cannot load BPF program "trial": the verifier says: .*R2 !read_ok/);
  });
});

describe("traffic control", () => {
  rootTest("a program is attached, replaced, seen and taken away with its qdisc", () => {
    using _stay = enterNewNetwork();
    const exchange = createExchange(openNetlinkSocket("route"));
    using program = loadProgram({ name: "trial", code: PASS_CODE });
    using next = loadProgram({ name: "trial-next", code: PASS_CODE });
    const hooks = (["ingress", "egress"] as const).map((direction) => ({
      link: LOOPBACK,
      direction,
    }));
    const [ingress, egress] = [hooks[0]!, hooks[1]!];
    const names = () =>
      hooks.map((hook) => listFilters(exchange, hook).map((filter) => filter.name));
    expect(names()).toEqual([[], []]);
    attachProgram(exchange, ingress, program);
    attachProgram(exchange, egress, program);
    attachProgram(exchange, ingress, next);
    expect(names()).toEqual([["trial-next"], ["trial"]]);
    expect(listFilters(exchange, ingress).every(isOurFilter)).toBe(true);
    detachProgram(exchange, ingress);
    expect(names()).toEqual([[], ["trial"]]);
    detachProgram(exchange, egress);
    detachProgram(exchange, egress);
    expect(names()).toEqual([[], []]);
    const { stdout } = Bun.spawnSync(["tc", "qdisc", "show", "dev", "lo"]);
    expect(stdout.toString()).not.toContain("clsact");
    const gone = { link: decodeLinkIndex(4711), direction: "ingress" } as const;
    expect(() => attachProgram(exchange, gone, program)).toThrow("Cannot make a clsact qdisc");
    detachProgram(exchange, gone);
    exchange.close();
  });
});
