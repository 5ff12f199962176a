/**
 * The user-mode peers that Debian packages: wireguard-go, nebula, tinc.
 *
 * Each with its own defaults, but for the MTU: the largest that fits into 1,500 bytes, where its
 * default is smaller, so that none sends fragments of 1,400-byte datagrams.
 *
 * @module
 */
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PacketPair, PairSide } from "../../../tests/lab/packet-pair.ts";
import type { LabProcess } from "../../../tests/lab/process.ts";
import { mustRun } from "../../../tests/lab/run.ts";
import { waitFor } from "../../../tests/lab/wait.ts";
import type { Contender } from "./contender.ts";

const WIREGUARD_PORT = 51820;
/** 1500 less IPv4, UDP, WireGuard's header and tag. */
const WIREGUARD_MTU = 1440;
const NEBULA_PORT = 4242;
/** 1500 less IPv4, UDP, nebula's header and tag; its default is 1300. */
const NEBULA_MTU = 1440;
/** Until tinc has found the path MTU; before, it sends large packets over TCP. */
const TINC_SETTLE_MS = 20_000;
const RSA_BITS = 2048;

export const WIREGUARD: Contender = {
  key: "wireguard",
  name: "wireguard-go",
  kind: "peer",
  programs: { "wireguard-go": "wireguard-go", wg: "wireguard-tools" },
  start: async (pair, wrap = []) => {
    const keys = [await createWireguardKey(pair.a), await createWireguardKey(pair.b)] as const;
    const processes = [
      await startWireguard(pair, pair.a, wrap, keys[0].path, keys[1].publicKey),
      await startWireguard(pair, pair.b, wrap, keys[1].path, keys[0].publicKey),
    ];
    return { target: "10.91.0.2", processes };
  },
};

async function createWireguardKey(side: PairSide) {
  const key = await mustRun(["wg", "genkey"]);
  const path = join(side.namespace.folder, `wireguard-${side.namespace.name}`);
  writeFileSync(path, key, { mode: 0o600 });
  return { path, publicKey: (await mustRun(["wg", "pubkey"], { stdin: key })).trim() };
}

async function startWireguard(
  pair: PacketPair,
  side: PairSide,
  wrap: readonly string[],
  keyPath: string,
  peerKey: string,
) {
  const { namespace } = side;
  const other = side === pair.a ? pair.b : pair.a;
  // Its control sockets are in one folder for the whole machine, named after the link.
  const link = `wg${process.pid}${namespace.name}`;
  const child = namespace.start([...wrap, "wireguard-go", "-f", link]);
  const own = ["listen-port", String(WIREGUARD_PORT), "private-key", keyPath];
  const endpoint = `${other.underlay}:${WIREGUARD_PORT}`;
  const peer = ["peer", peerKey, "allowed-ips", "10.91.0.0/24", "endpoint", endpoint];
  await waitFor(
    async () => (await namespace.run(["wg", "set", link, ...own, ...peer])).code === 0,
    { describe: "wireguard-go to start", details: () => child.tail(5) },
  );
  const address = `10.91.0.${side === pair.a ? 1 : 2}/24`;
  await namespace.mustRun(["ip", "address", "add", address, "dev", link]);
  await namespace.mustRun(["ip", "link", "set", link, "mtu", String(WIREGUARD_MTU), "up"]);
  return child;
}

export const NEBULA: Contender = {
  key: "nebula",
  name: "nebula",
  kind: "peer",
  programs: { nebula: "nebula", "nebula-cert": "nebula" },
  start: async (pair, wrap = []) => {
    const { folder } = pair.a.namespace;
    const sign = async (...words: string[]) =>
      await mustRun(["nebula-cert", ...words], { cwd: folder });
    await sign("ca", "-name", "bench", "-out-crt", "ca.crt", "-out-key", "ca.key");
    const processes = [pair.a, pair.b].map(async (side, index) => {
      const { namespace } = side;
      const ip = `10.92.0.${index + 1}/24`;
      const files = ["-out-crt", `${namespace.name}.crt`, "-out-key", `${namespace.name}.key`];
      await sign("sign", "-name", namespace.name, "-ip", ip, ...files);
      const path = join(folder, `nebula-${namespace.name}.yml`);
      writeFileSync(path, nebulaConfig(pair, side));
      return namespace.start([...wrap, "nebula", "-config", path]);
    });
    return { target: "10.92.0.2", processes: await Promise.all(processes) };
  },
};

/** JSON is YAML too. */
function nebulaConfig(pair: PacketPair, side: PairSide): string {
  const { folder, name } = side.namespace;
  const isFirst = side === pair.a;
  const anything = [{ port: "any", proto: "any", host: "any" }];
  return JSON.stringify({
    pki: {
      ca: join(folder, "ca.crt"),
      cert: join(folder, `${name}.crt`),
      key: join(folder, `${name}.key`),
    },
    static_host_map: {
      "10.92.0.1": [`${pair.a.underlay}:${NEBULA_PORT}`],
      "10.92.0.2": [`${pair.b.underlay}:${NEBULA_PORT}`],
    },
    lighthouse: { am_lighthouse: isFirst, hosts: isFirst ? [] : ["10.92.0.1"] },
    listen: { host: "0.0.0.0", port: NEBULA_PORT },
    tun: { dev: "nebula0", mtu: NEBULA_MTU },
    firewall: { outbound: anything, inbound: anything },
    logging: { level: "warning" },
  });
}

export const TINC: Contender = {
  key: "tinc",
  name: "tinc 1.0",
  kind: "peer",
  programs: { tincd: "tinc" },
  start: async (pair, wrap = []) => {
    const sides = [pair.a, pair.b];
    const hosts = sides.map((side, index) => ({ side, key: createTincKey(), number: index + 1 }));
    for (const host of hosts) {
      const folder = join(host.side.namespace.folder, `tinc-${host.side.namespace.name}`);
      mkdirSync(join(folder, "hosts"), { recursive: true });
      const other = hosts.find((one) => one !== host)!.side.namespace.name;
      const lines = ["DeviceType = tun", "Interface = tinc0", "Mode = router"];
      lines.push(`Name = ${host.side.namespace.name}`, `ConnectTo = ${other}`);
      writeFileSync(join(folder, "tinc.conf"), `${lines.join("\n")}\n`);
      writeFileSync(join(folder, "rsa_key.priv"), host.key.privateKey, { mode: 0o600 });
      for (const { side, key, number } of hosts) {
        const words = `Address = ${side.underlay}\nSubnet = 10.93.${number}.0/24\n`;
        writeFileSync(join(folder, "hosts", side.namespace.name), words + key.publicKey);
      }
    }
    const processes: LabProcess[] = [];
    for (const { side, number } of hosts) processes.push(await startTinc(side, number, wrap));
    // The first SIGINT makes it tell everything, each packet too; the next one silences it again.
    for (const child of processes) child.signal("SIGINT");
    await waitFor(
      async () => {
        await pair.a.namespace.ping("10.93.2.1", { count: 1 });
        return processes.every((child) => child.output().includes("Fixing MTU of"));
      },
      { describe: "tinc to know the path MTU", timeoutMs: TINC_SETTLE_MS },
    );
    for (const child of processes) child.signal("SIGINT");
    return { target: "10.93.2.1", processes };
  },
};

function createTincKey() {
  return generateKeyPairSync("rsa", {
    modulusLength: RSA_BITS,
    publicKeyEncoding: { type: "pkcs1", format: "pem" },
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
  });
}

async function startTinc({ namespace }: PairSide, number: number, wrap: readonly string[]) {
  const folder = join(namespace.folder, `tinc-${namespace.name}`);
  const pidFile = `--pidfile=${join(folder, "pid")}`;
  const child = namespace.start([...wrap, "tincd", "-D", "-c", folder, pidFile]);
  const address = ["ip", "address", "add", `10.93.${number}.1/16`, "dev", "tinc0"];
  await waitFor(async () => (await namespace.run(address)).code === 0, {
    describe: "tinc to start",
    details: () => child.tail(5),
  });
  await namespace.mustRun(["ip", "link", "set", "tinc0", "up"]);
  return child;
}
