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
  lingering.follow({ ...UDP, port: 9000 });
  expect(lingering.configs).toEqual([]);
  lingering.follow(HOST_GW);
  await clock.advance(3000);
  lingering.follow(ALLOC);
  expect(lingering.configs).toEqual([{ ...UDP, port: 9000 }, HOST_GW]);
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

test("cleared, nothing lingers and nobody is called", async () => {
  const { clock, lingering, over } = open();
  lingering.follow(UDP);
  lingering.follow(HOST_GW);
  lingering.clear();
  lingering.follow(ALLOC);
  await clock.advance(10_000);
  expect([lingering.configs, over]).toEqual([[], []]);
});
