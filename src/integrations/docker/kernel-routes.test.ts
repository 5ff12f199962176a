import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parseKernelRoutes } from "./kernel-routes.ts";

/** As a machine with Docker listed them. */
const LISTED = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	014DA8C0	0003	0	0	0	00000000	0	0	0
overlay0	0000000A	00000000	0001	0	0	0	0000FFFF	0	0	0
docker0	0035000A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	0736000A	0D4DA8C0	0007	0	0	0	FFFFFFFF	0	0	0
`;

test("parseKernelRoutes: links, prefixes and gateways", () => {
  const words = parseKernelRoutes(LISTED).map(
    ({ destination, gateway, link }) => `${destination} ${gateway ?? "-"} ${link}`,
  );
  expect(words).toEqual([
    "0.0.0.0/0 192.168.77.1 eth0",
    "10.0.0.0/16 - overlay0",
    "10.0.53.0/24 - docker0",
    "10.0.54.7/32 192.168.77.13 eth0",
  ]);
});

test("parseKernelRoutes: what is no route is left out", () => {
  expect(parseKernelRoutes("")).toEqual([]);
  expect(parseKernelRoutes("eth0 1 2 3\neth0\t0000000Z\t00000000\t1\t0\t0\t0\t00FFFFFF")).toEqual(
    [],
  );
});

test("parseKernelRoutes: this machine's own table", () => {
  const text = readFileSync("/proc/net/route", "utf8");
  expect(parseKernelRoutes(text)).toHaveLength(text.trimEnd().split("\n").length - 1);
});
