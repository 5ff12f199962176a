import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatNetworkConfig, parseNetworkConfig } from "./config.ts";
import { poolCapacity } from "./pool.ts";

function problems(body: unknown): string[] {
  const parsed = parseNetworkConfig(body);
  return parsed.ok ? [] : parsed.error.map(({ path, message }) => `${path} | ${message}`);
}

const net = (network: string, more: object = {}) => ({ Network: network, ...more });

describe("parseNetworkConfig: what flannel makes of a config", () => {
  const rows: {
    body: unknown;
    pool: [network: string, length: number, min: string, max: string];
    capacity: number;
    why: string;
  }[] = [
    {
      body: net("10.0.0.0/16"),
      pool: ["10.0.0.0/16", 24, "10.0.1.0", "10.0.255.0"],
      capacity: 255,
      why: "a /24 each, the first subnet skipped",
    },
    {
      body: net("10.0.5.7/16"),
      pool: ["10.0.0.0/16", 24, "10.0.1.0", "10.0.255.0"],
      capacity: 255,
      why: "host bits are masked off",
    },
    {
      body: net("10.4.0.0/22"),
      pool: ["10.4.0.0/22", 24, "10.4.1.0", "10.4.3.0"],
      capacity: 3,
      why: "a /22 still has room for four /24",
    },
    {
      body: net("10.4.0.0/23"),
      pool: ["10.4.0.0/23", 25, "10.4.0.128", "10.4.1.128"],
      capacity: 3,
      why: "a smaller network is split into four",
    },
    {
      body: net("10.4.0.0/28"),
      pool: ["10.4.0.0/28", 30, "10.4.0.4", "10.4.0.12"],
      capacity: 3,
      why: "the smallest network there can be",
    },
    {
      body: net("10.0.0.0/8", { SubnetLen: 30 }),
      pool: ["10.0.0.0/8", 30, "10.0.0.4", "10.255.255.252"],
      capacity: 4_194_303,
      why: "the smallest subnets",
    },
    {
      body: net("10.0.0.0/16", { SubnetLen: 18 }),
      pool: ["10.0.0.0/16", 18, "10.0.64.0", "10.0.192.0"],
      capacity: 3,
      why: "the largest subnets of a /16",
    },
    {
      body: net("10.0.0.0/8", { SubnetLen: 20, SubnetMin: "10.10.0.0", SubnetMax: "10.99.0.0" }),
      pool: ["10.0.0.0/8", 20, "10.10.0.0", "10.99.0.0"],
      capacity: 1425,
      why: "the example of flannel's own documents",
    },
    {
      body: net("10.0.0.0/16", { SubnetMin: "10.0.0.0", SubnetMax: "10.0.0.0" }),
      pool: ["10.0.0.0/16", 24, "10.0.0.0", "10.0.0.0"],
      capacity: 1,
      why: "the first subnet is there for whoever asks for it; both bounds count",
    },
    {
      body: net("10.0.0.0/16", { SubnetLen: 0, SubnetMin: "0.0.0.0", SubnetMax: null }),
      pool: ["10.0.0.0/16", 24, "10.0.1.0", "10.0.255.0"],
      capacity: 255,
      why: "Go's zero values mean: not given",
    },
    {
      body: { network: "10.0.0.0/16", SUBNETLEN: 24, enableipv4: true, EnableNFTables: true },
      pool: ["10.0.0.0/16", 24, "10.0.1.0", "10.0.255.0"],
      capacity: 255,
      why: "case of keys does not matter; nf_tables is what we use anyway",
    },
    {
      body: net("10.0.0.0/16", { EnableIPv6: false, IPv6Network: "fd00::/48" }),
      pool: ["10.0.0.0/16", 24, "10.0.1.0", "10.0.255.0"],
      capacity: 255,
      why: "IPv6 keys are kept while IPv6 is off",
    },
  ];
  for (const { body, pool, capacity, why } of rows) {
    test(`${JSON.stringify(body)}: ${why}`, () => {
      const parsed = parseNetworkConfig(body);
      expect(problems(body)).toEqual([]);
      if (!parsed.ok) return;
      const { network, subnetLength, min, max } = parsed.value.pool;
      expect<(string | number)[]>([network, subnetLength, min, max]).toEqual(pool);
      expect(poolCapacity(parsed.value.pool)).toBe(capacity);
    });
  }
});

describe("parseNetworkConfig: refusals", () => {
  const rows: { body: unknown; says: string[]; why: string }[] = [
    { body: undefined, says: [" | Config must be a JSON object"], why: "no body" },
    { body: [], says: ["got an array"], why: "an array" },
    { body: "10.0.0.0/16", says: ['got "10.0.0.0/16"'], why: "text" },
    { body: {}, says: ["Network | Network must be given"], why: "nothing in it" },
    { body: { Network: null }, says: ["Network must be given"], why: "null is not given" },
    {
      body: net("10.0.0/16"),
      says: ['Network | Network must be an IPv4 network with its length, such as "10.0.0.0/16"'],
      why: "three octets",
    },
    { body: net("10.0.0.0"), says: ["with its length"], why: "no length" },
    { body: net("10.0.0.0/33"), says: ['got "10.0.0.0/33"'], why: "length over 32" },
    { body: net("fd00::/48"), says: ["Network must be an IPv4 network"], why: "other family" },
    { body: { Network: 10 }, says: ["got 10"], why: "a number" },
    {
      body: net("10.0.0.0/29"),
      says: [
        "Network | Network is too small: the minimum useful network is a /28; got 10.0.0.0/29",
      ],
      why: "no room for four subnets",
    },
    {
      body: net("10.0.0.0/29", { SubnetLen: 30 }),
      says: ["Network is too small"],
      why: "no length could help",
    },
    { body: net("127.0.0.0/16"), says: ["127.0.0.0/8 (loopback)"], why: "loopback" },
    { body: net("0.0.0.0/16"), says: ["0.0.0.0/8"], why: "this host" },
    { body: net("224.1.0.0/16"), says: ["224.0.0.0/4 (multicast)"], why: "multicast" },
    {
      body: net("0.0.0.0/0"),
      says: ["(this host)", "(loopback)", "(multicast)"],
      why: "everything, with each reason",
    },
    {
      body: net("10.0.0.0/16", { SubnetLen: 31 }),
      says: ["SubnetLen | SubnetLen must be less than /31; got 31"],
      why: "no room for a bridge and a container",
    },
    {
      body: net("10.0.0.0/16", { SubnetLen: 17 }),
      says: ["must be able to accommodate at least four subnets; got 17"],
      why: "only two subnets",
    },
    {
      body: net("10.0.0.0/16", { SubnetLen: "24" }),
      says: ['SubnetLen must be a whole number from 0 to 32; got "24"'],
      why: "text instead of a number",
    },
    { body: net("10.0.0.0/16", { SubnetLen: 24.5 }), says: ["whole number"], why: "a fraction" },
    { body: net("10.0.0.0/16", { SubnetLen: -1 }), says: ["whole number"], why: "negative" },
    {
      body: net("10.0.0.0/16", { SubnetMin: "10.1.0.0" }),
      says: ["SubnetMin | SubnetMin must be in the range of 10.0.0.0/16; got 10.1.0.0"],
      why: "outside the network",
    },
    {
      body: net("10.0.0.0/16", { SubnetMax: "10.0.5.7" }),
      says: [
        "SubnetMax must be on a SubnetLen boundary, the first address of a /24 such as 10.0.5.0",
      ],
      why: "not the first address of a subnet",
    },
    {
      body: net("10.0.0.0/16", { SubnetMin: "10.0.9.0", SubnetMax: "10.0.8.0" }),
      says: ["SubnetMin must not be after SubnetMax; got 10.0.9.0 and 10.0.8.0"],
      why: "the wrong way round",
    },
    {
      body: net("10.0.0.0/16", { SubnetMin: "::1" }),
      says: ["SubnetMin must be an IPv4 address"],
      why: "other family",
    },
    {
      body: net("10.0.0.0/16", { EnableIPv6: true }),
      says: ["EnableIPv6 must be false or left out: IPv6 is not yet supported"],
      why: "to come",
    },
    {
      body: net("10.0.0.0/16", { EnableIPv4: false }),
      says: ["EnableIPv4 must be true or left out"],
      why: "to come with IPv6",
    },
    { body: net("10.0.0.0/16", { EnableIPv4: "yes" }), says: ["true or false"], why: "text" },
    {
      body: net("10.0.0.0/16", { IPv6Network: "10.0.0.0/16" }),
      says: ["IPv6Network must be an IPv6 network"],
      why: "checked even while off",
    },
    {
      body: net("10.0.0.0/16", { SubentLen: 24 }),
      says: ["SubentLen | SubentLen is not a known key; did you mean SubnetLen?"],
      why: "a slip of the finger",
    },
    {
      body: net("10.0.0.0/16", { subnet_min: "10.0.5.0" }),
      says: ["did you mean SubnetMin?"],
      why: "another style",
    },
    {
      body: net("10.0.0.0/16", { frobnicate: 1 }),
      says: ["frobnicate is not a known key; the known keys are Network, SubnetLen"],
      why: "like nothing we know",
    },
    {
      body: JSON.parse('{"Network":"10.0.0.0/16","__proto__":{"SubnetLen":30}}'),
      says: ["__proto__ is not a known key"],
      why: "a key like any other",
    },
    {
      body: { Network: "10.0.0.0/16", NETWORK: "10.1.0.0/16" },
      says: ['NETWORK | Network is given twice, as "Network" and "NETWORK"'],
      why: "which one counts nobody can tell",
    },
    {
      body: net("10.0.0.0/16", { LeaseTTLSeconds: 9 }),
      says: ["LeaseTTLSeconds must be a whole number from 10 to 31536000; got 9"],
      why: "too short for an election",
    },
    {
      body: { SubnetLen: 40, EnableIPv6: true, Backend: { Type: "wireguard" } },
      says: ["SubnetLen", "EnableIPv6", "Network must be given", "Backend.Type"],
      why: "everything that is wrong, at once",
    },
  ];
  for (const { body, says, why } of rows) {
    test(`${JSON.stringify(body)}: ${why}`, () => {
      const found = problems(body);
      expect(found).not.toEqual([]);
      for (const part of says) expect(found.join("\n")).toContain(part);
    });
  }
});

describe("parseNetworkConfig: backend", () => {
  const rows: {
    backend: unknown;
    port?: number;
    encryption?: string;
    says?: string;
    why: string;
  }[] = [
    { backend: undefined, port: 8285, why: "flannel's code takes udp without a Backend" },
    { backend: { Type: "udp" }, port: 8285, why: "flannel's port" },
    { backend: { type: "UDP", port: 9000 }, port: 9000, why: "any case" },
    { backend: { Type: "udp", Encryption: "none" }, port: 8285, why: "what bare flannel means" },
    { backend: {}, says: "Backend.Type must be given", why: "flannel dies with an empty type" },
    { backend: "udp", says: 'Backend must be an object, such as {"Type":"udp"}', why: "text" },
    { backend: { Type: 1 }, says: 'Backend.Type must be "udp", "vxlan"', why: "no text" },
    {
      backend: { Type: "wireguard", ListenPort: 51_820 },
      says: '"wireguard" is not yet supported by this version',
      why: "known, and its options are no news",
    },
    { backend: { Type: "vlxan" }, says: 'or "alloc"; got "vlxan"', why: "unknown" },
    { backend: { Type: "udp", Port: 0 }, says: "Backend.Port must be", why: "no port" },
    { backend: { Type: "udp", Port: 65_536 }, says: "from 1 to 65535", why: "over 16 bits" },
    {
      backend: { Type: "udp", Prot: 1 },
      says: "Backend.Prot is not a known key; did you mean Backend.Port?",
      why: "a slip",
    },
    {
      backend: { Type: "udp", Encryption: "AES-256-GCM" },
      port: 8285,
      encryption: "aes-256-gcm",
      why: "sealed, in any case",
    },
    {
      backend: { Type: "udp", Encryption: "rot13" },
      says: 'Backend.Encryption must be "none" or "aes-256-gcm"; got "rot13"',
      why: "unknown",
    },
  ];
  for (const { backend, port, encryption = "none", says, why } of rows) {
    test(`${JSON.stringify(backend)}: ${why}`, () => {
      const body = net("10.0.0.0/16", backend === undefined ? {} : { Backend: backend });
      const parsed = parseNetworkConfig(body);
      if (says !== undefined) expect(problems(body).join("\n")).toContain(says);
      else {
        const expected = { backend: { kind: "udp", port, encryption } };
        expect(parsed).toMatchObject({ ok: true, value: expected });
      }
    });
  }
});

describe("parseNetworkConfig: options of the kernel's backends", () => {
  const vxlan = {
    kind: "vxlan",
    vni: 1,
    port: 8472,
    gbp: false,
    learning: false,
    directRouting: false,
    underlayMtu: undefined,
  };
  const auto = { kind: "auto", port: 8285, vni: 1, vxlanPort: 8472 };
  const rows: { backend: object; is?: object; says?: string; why: string }[] = [
    { backend: { Type: "vxlan" }, is: vxlan, why: "flannel's defaults" },
    { backend: { Type: "VXLAN", Port: 0 }, is: vxlan, why: "port 0 is the kernel's" },
    {
      backend: { type: "vxlan", vni: 7, port: 9, gbp: true, directrouting: true, mtu: 9000 },
      is: { ...vxlan, vni: 7, port: 9, gbp: true, directRouting: true, underlayMtu: 9000 },
      why: "every option, in any case",
    },
    { backend: { Type: "vxlan", VNI: 2 ** 24 }, says: "from 1 to 16777215", why: "24 bits" },
    {
      backend: { Type: "vxlan", GBP: "yes" },
      says: "Backend.GBP must be true or false",
      why: "no",
    },
    { backend: { Type: "vxlan", Encryption: "none" }, says: "not a known key", why: "udp's own" },
    { backend: { Type: "host-gw" }, is: { kind: "host-gw" }, why: "no options" },
    { backend: { Type: "host-gw", Port: 1 }, says: "Backend.Port is not a known key", why: "none" },
    { backend: { Type: "alloc" }, is: { kind: "alloc" }, why: "no options" },
    { backend: { Type: "Auto" }, is: auto, why: "the ports and VNI of its parts" },
    {
      backend: { Type: "auto", port: 9, vni: 7, vxlanport: 4789, encryption: "none" },
      is: { kind: "auto", port: 9, vni: 7, vxlanPort: 4789 },
      why: "all options",
    },
    {
      backend: { Type: "auto", Encryption: "aes-256-gcm" },
      says: 'Backend.Encryption must be "none" with the Type "auto"',
      why: "the kernel's ways seal nothing",
    },
    {
      backend: { Type: "extension", subnetaddcommand: ["add", "-x"], ShutdownCommand: "" },
      is: { kind: "extension", commands: { SubnetAddCommand: ["add", "-x"] } },
      why: "any case, and flannel's empty text",
    },
    {
      backend: { Type: "extension", SubnetAddCommand: "ip route add $SUBNET via $PUBLIC_IP" },
      says: 'Backend.SubnetAddCommand must be a list of words, such as ["add-peer","--fast"]',
      why: "what flannel gives to a shell",
    },
    {
      backend: { Type: "extension", PreStartupCommand: ["/bin/sh", "-c", "x"] },
      says: "begin with the name of a program in the nodes' --extension-dir",
      why: "a path",
    },
    {
      backend: { Type: "extension", PreStartupCommand: ["add", 1] },
      says: "Backend.PreStartupCommand must be a list of 1 to 64 words",
      why: "a number among the words",
    },
    {
      backend: { Type: "extension", PreStartupCommand: ["add", "a\0b"] },
      says: "Backend.PreStartupCommand must be a list of 1 to 64 words",
      why: "a word that the kernel would cut",
    },
    {
      backend: { Type: "extension", PreStartupCommand: [] },
      says: "Backend.PreStartupCommand must be a list of 1 to 64 words",
      why: "no words",
    },
    {
      backend: { Type: "extension", PreStartCommand: ["x"] },
      says: "did you mean Backend.PreStartupCommand?",
      why: "a key that is none",
    },
  ];
  for (const { backend, is, says, why } of rows) {
    test(`${JSON.stringify(backend)}: ${why}`, () => {
      const body = net("10.0.0.0/16", { Backend: backend });
      if (says !== undefined) expect(problems(body).join("\n")).toContain(says);
      else expect(parseNetworkConfig(body)).toMatchObject({ ok: true, value: { backend: is } });
    });
  }
});

test("formatNetworkConfig: the user's own keys and values, in their documented spelling", () => {
  const rows: [unknown, object][] = [
    [{ Network: "10.0.0.0/16" }, { Network: "10.0.0.0/16" }],
    [
      { network: "10.0.5.0/16", BACKEND: { type: "UDP", PORT: 1 }, subnetlen: null },
      { Network: "10.0.5.0/16", Backend: { Type: "UDP", Port: 1 } },
    ],
  ];
  for (const [body, expected] of rows) {
    const parsed = parseNetworkConfig(body);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    expect<object>(formatNetworkConfig(parsed.value)).toEqual(expected);
    // What is stored must be read as the same config again.
    expect(parseNetworkConfig(formatNetworkConfig(parsed.value))).toEqual(parsed);
  }
});

test("parseNetworkConfig: never throws, and always says something about what it refuses", () => {
  const value = fc.oneof(
    fc.anything(),
    fc.ipV4(),
    fc.ipV4().chain((ip) => fc.nat(40).map((length) => `${ip}/${length}`)),
    fc.integer(),
  );
  const names = ["Network", "SubnetLen", "SubnetMin", "SubnetMax", "Backend", "IPv6Network"];
  const body = fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), value);
  fc.assert(
    fc.property(fc.oneof(fc.anything(), body), (given) => {
      const parsed = parseNetworkConfig(given);
      if (parsed.ok) expect(poolCapacity(parsed.value.pool)).toBeGreaterThan(0);
      else expect(parsed.error.length).toBeGreaterThan(0);
    }),
    { seed: 5, numRuns: 2000 },
  );
}, 60_000);
