import { expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { type BackendConfig, DEFAULT_BACKEND } from "../control/network/backend-config.ts";
import { LingeringBackends } from "./lingering-backends.ts";

const UDP = DEFAULT_BACKEND;
const HOST_GW: BackendConfig = { kind: "host-gw" };
const ALLOC: BackendConfig = { kind: "alloc" };

function open() {
  const clock = new ManualClock();
  const over: (readonly BackendConfig[])[] = [];
  const lingering = new LingeringBackends(clock, () => over.push(lingering.configs));
  return { clock, lingering, over };
}

test("a backend that was left stays for a while, each its own", async () => {
  const { clock, lingering, over } = open();
  lingering.follow(UDP);
  lingering.follow({ ...UDP, encryption: "aes-256-gcm" });
  expect(lingering.configs).toEqual([]);
  lingering.follow(HOST_GW);
  await clock.advance(3000);
  lingering.follow(ALLOC);
  expect(lingering.configs).toEqual([{ ...UDP, encryption: "aes-256-gcm" }, HOST_GW]);
  await clock.advance(2000);
  await clock.advance(3000);
  expect(over).toEqual([[HOST_GW], []]);
});

test("who goes back has it as the current one, not as a former one", async () => {
  const { clock, lingering, over } = open();
  lingering.follow(UDP);
  lingering.follow(HOST_GW);
  lingering.follow(UDP);
  expect(lingering.configs).toEqual([HOST_GW]);
  await clock.advance(5000);
  expect(over).toEqual([[]]);
});

test("another port is another way, and each stays for its time", async () => {
  const { clock, lingering, over } = open();
  const [first, second, third] = [8001, 8002, 8003].map((port) => ({ ...UDP, port }));
  lingering.follow(first!);
  lingering.follow(second!);
  expect(lingering.configs).toEqual([first!]);
  await clock.advance(3000);
  lingering.follow(third!);
  expect(lingering.configs).toEqual([first!, second!]);
  await clock.advance(2000);
  expect(over).toEqual([[second!]]);
  lingering.follow(HOST_GW);
  lingering.follow(second!);
  expect(lingering.configs).toEqual([third!, HOST_GW]);
  await clock.advance(5000);
  expect(lingering.configs).toEqual([]);
});

test("another VXLAN link is another way, other options of it are not", () => {
  const plain = { gbp: false, learning: false, directRouting: false, underlayMtu: undefined };
  const vxlan = { kind: "vxlan", vni: 1, port: 8472, ...plain } as const;
  const { lingering } = open();
  lingering.follow(vxlan);
  lingering.follow({ ...vxlan, directRouting: true });
  expect(lingering.configs).toEqual([]);
  lingering.follow({ ...vxlan, port: 4789 });
  lingering.follow({ ...vxlan, vni: 2 });
  expect(lingering.configs).toEqual([
    { ...vxlan, directRouting: true },
    { ...vxlan, port: 4789 },
  ]);
});

test("what could not be had was never left to", async () => {
  const { clock, lingering, over } = open();
  const other = { ...UDP, port: 9000 };
  lingering.follow(UDP);
  lingering.follow(other);
  lingering.stay(UDP);
  expect(lingering.configs).toEqual([]);
  await clock.advance(10_000);
  expect(over).toEqual([]);
  lingering.follow(other);
  expect(lingering.configs).toEqual([UDP]);
});

test("cleared, nothing lingers and nobody is called", async () => {
  const { clock, lingering, over } = open();
  lingering.follow(UDP);
  lingering.follow(HOST_GW);
  lingering.clear();
  lingering.follow(ALLOC);
  await clock.advance(10_000);
  expect([lingering.configs, over]).toEqual([[], []]);
});
