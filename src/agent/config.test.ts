/**
 * Flags and environment: precedence, defaults, and what each wrong value is told.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { type AgentConfig, type AgentFlags, type Environment, parseAgentConfig } from "./config.ts";

function parse(flags: AgentFlags, env: Environment = {}, hostName = "web1"): AgentConfig {
  const result = parseAgentConfig(flags, env, hostName);
  if (!result.ok) throw new Error(result.error);
  return result.value;
}

test("parseAgentConfig: nothing given is the table of defaults", () => {
  expect<unknown>(parse({})).toEqual({
    dataDir: "/var/lib/overlay",
    runDir: "/run/overlay",
    socketPath: "/run/overlay/overlay.sock",
    nodeName: "web1",
    zone: "",
    choice: {
      names: [],
      patterns: [],
      canReach: undefined,
      publicIpv4: undefined,
      publicIpv6: undefined,
    },
    clusterListen: [
      { host: "0.0.0.0", port: 8286 },
      { host: "::", port: 8286 },
    ],
    adminListen: { host: "127.0.0.1", port: 8287 },
    subnetFile: "/run/flannel/subnet.env",
    ipMasq: true,
    offloadsOff: [],
    engine: "auto",
    ways: ["direct", "vxlan", "udp"],
    extensionDir: "/etc/overlay/extension",
    logLevel: "info",
    logFormat: "text",
  });
});

const VALUES: readonly {
  flags?: AgentFlags;
  env?: Environment;
  want: Record<string, unknown>;
  why: string;
}[] = [
  {
    flags: { "data-dir": "/a" },
    env: { OVERLAY_DATA_DIR: "/b" },
    want: { dataDir: "/a" },
    why: "a flag wins over its variable",
  },
  {
    flags: { "offloads-off": "gso,gro" },
    want: { offloadsOff: ["gso", "gro"] },
    why: "a list",
  },
  {
    env: { OVERLAY_DATA_DIR: "/b" },
    want: { dataDir: "/b" },
    why: "a variable wins over the default",
  },
  {
    env: { OVERLAY_DATA_DIR: "" },
    want: { dataDir: "/var/lib/overlay" },
    why: "an empty variable is not set",
  },
  {
    flags: { "run-dir": "/r/" },
    want: { runDir: "/r", socketPath: "/r/overlay.sock" },
    why: "a slash at the end goes",
  },
  {
    flags: { "run-dir": "/" },
    want: { runDir: "/", socketPath: "/overlay.sock" },
    why: "the root is a directory",
  },
  { flags: { "node-name": "DB-2" }, want: { nodeName: "db-2" }, why: "names have no case" },
  {
    flags: { iface: ["eth0", "192.0.2.1", "FD00::1"] },
    want: { choice: expect.objectContaining({ names: ["eth0", "192.0.2.1", "fd00::1"] }) },
    why: "names and addresses in order",
  },
  {
    env: { OVERLAY_IFACE: "eth0, eth1" },
    want: { choice: expect.objectContaining({ names: ["eth0", "eth1"] }) },
    why: "commas separate in the variable",
  },
  {
    env: { OVERLAY_IFACE_REGEX: "^10\\.0\\.[0-9]{1,3}" },
    want: { choice: expect.objectContaining({ patterns: [/^10\.0\.[0-9]{1,3}/] }) },
    why: "a comma may belong to an expression",
  },
  {
    flags: {
      "public-ip": "203.0.113.7",
      "public-ipv6": "2001:DB8::7",
      "iface-can-reach": "192.0.2.9",
    },
    want: {
      choice: expect.objectContaining({
        publicIpv4: "203.0.113.7",
        publicIpv6: "2001:db8::7",
        canReach: "192.0.2.9",
      }),
    },
    why: "addresses become canonical",
  },
  {
    flags: { "cluster-listen": "0.0.0.0:8286" },
    want: { clusterListen: [{ host: "0.0.0.0", port: 8286 }] },
    why: "a given wildcard is of its family alone",
  },
  {
    flags: { "cluster-listen": "[fd00::1]:9000" },
    want: { clusterListen: [{ host: "fd00::1", port: 9000 }] },
    why: "IPv6 stands in brackets",
  },
  {
    flags: { "admin-listen": "localhost:0" },
    want: { adminListen: { host: "127.0.0.1", port: 0 } },
    why: "port 0 is any free one",
  },
  {
    flags: { "admin-listen": "[::1]:1" },
    want: { adminListen: { host: "::1", port: 1 } },
    why: "loopback in IPv6",
  },
  { flags: { "subnet-file": "none" }, want: { subnetFile: undefined }, why: "none turns it off" },
  { flags: { engine: "user" }, want: { engine: "user" }, why: "no packets in the kernel" },
  { flags: { ways: "udp,vxlan" }, want: { ways: ["vxlan", "udp"] }, why: "a node of two ways" },
  { flags: { "ip-masq": "false" }, want: { ipMasq: false }, why: "false is false" },
  {
    env: { OVERLAY_LOG_LEVEL: "debug", OVERLAY_LOG_FORMAT: "json" },
    want: { logLevel: "debug", logFormat: "json" },
    why: "the log",
  },
  {
    env: { OVERLAY_SOCKET: "/x", PATH: "/bin" },
    want: { runDir: "/run/overlay" },
    why: "other variables do not matter",
  },
];

describe("parseAgentConfig takes", () => {
  for (const { flags = {}, env = {}, want, why } of VALUES) {
    test(`${JSON.stringify({ ...flags, ...env })}: ${why}`, () => {
      expect<unknown>(parse(flags, env)).toMatchObject(want);
    });
  }
});

const FAULTS: readonly { flags?: AgentFlags; env?: Environment; host?: string; says: string }[] = [
  { flags: { "data-dir": "var" }, says: '--data-dir "var" is not an absolute path' },
  { env: { OVERLAY_RUN_DIR: "run" }, says: 'OVERLAY_RUN_DIR "run" is not an absolute path' },
  { flags: { "data-dir": "" }, says: '--data-dir "" is not an absolute path' },
  { flags: { "subnet-file": "/run/x/" }, says: '--subnet-file "/run/x/" is not "none" or' },
  { host: "web_1.example.com", says: 'the host name "web_1.example.com" is not a label' },
  { host: "web_1.example.com", says: "set one, such as --node-name web-1" },
  { host: "_", says: "set one, such as --node-name node1" },
  { flags: { "node-name": "a.b" }, says: '--node-name "a.b" is not a label' },
  { flags: { "node-name": "-a" }, says: '--node-name "-a" is not a label' },
  { flags: { "node-name": "a".repeat(64) }, says: "is not a label (1 to 63 letters" },
  { flags: { iface: ["eth0", "a/b"] }, says: '--iface "a/b" is not an interface name' },
  { flags: { iface: "sixteen-letters-" }, says: "is not an interface name" },
  { env: { OVERLAY_IFACE: "eth0,,eth1" }, says: 'OVERLAY_IFACE "" is not an interface name' },
  { flags: { "iface-regex": ["("] }, says: '--iface-regex "(" is not a regular expression' },
  { flags: { "iface-can-reach": "gw" }, says: '"gw" is not the address of one machine' },
  { flags: { "public-ip": "fd00::1" }, says: '"fd00::1" is not an IPv4 address' },
  { flags: { "public-ip": "0.0.0.0" }, says: '"0.0.0.0" is not an IPv4 address of one' },
  { flags: { "public-ip": "255.255.255.255" }, says: "is not an IPv4 address of one" },
  { flags: { "public-ipv6": "ff02::1" }, says: '"ff02::1" is not an IPv6 address of one' },
  { flags: { "cluster-listen": "8286" }, says: '--cluster-listen "8286" is not an address with' },
  { flags: { "cluster-listen": "fd00::1:8286" }, says: "is not an address with a port" },
  { flags: { "cluster-listen": "0.0.0.0:65536" }, says: "is not an address with a port" },
  { flags: { "admin-listen": "0.0.0.0:8287" }, says: "is not on loopback, which needs TLS" },
  { flags: { "admin-listen": "[::]:8287" }, says: "--admin-listen [::]:8287 is not on loopback" },
  { flags: { "admin-listen": "127.0.0.1:8286" }, says: "both have port 8286; change one" },
  { flags: { "data-dir": "/x", "run-dir": "/x/" }, says: '--data-dir and --run-dir are both "/x"' },
  { flags: { "run-dir": `/${"x".repeat(100)}` }, says: "choose a shorter --run-dir" },
  { flags: { engine: "kernel" }, says: '--engine "kernel" is not one of auto, user' },
  { flags: { ways: "host-gw" }, says: '--ways "host-gw" is not a list of direct,vxlan,udp' },
  { flags: { "ip-masq": "yes" }, says: '--ip-masq "yes" is not true or false' },
  {
    env: { OVERLAY_LOG_LEVEL: "loud" },
    says: 'OVERLAY_LOG_LEVEL "loud" is not one of debug, info',
  },
  { flags: { "log-format": "xml" }, says: '--log-format "xml" is not one of text, json' },
];

describe("parseAgentConfig refuses", () => {
  for (const { flags = {}, env = {}, host = "web1", says } of FAULTS) {
    test(`${JSON.stringify({ ...flags, ...env })} on "${host}": ${says}`, () => {
      const result = parseAgentConfig(flags, env, host);
      if (result.ok) throw new Error("taken");
      expect(result.error).toStartWith("Cannot start agent: ");
      expect(result.error).toContain(says);
    });
  }
});
