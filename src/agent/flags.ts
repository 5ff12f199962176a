/**
 * The agent's flags: names, defaults and help, in the order of `overlay agent --help`.
 *
 * One table for the command line, the environment and the parser in `config.ts`; data only.
 *
 * @module
 */

export type AgentFlagName =
  | "data-dir"
  | "run-dir"
  | "node-name"
  | "zone"
  | "iface"
  | "iface-regex"
  | "iface-can-reach"
  | "public-ip"
  | "public-ipv6"
  | "cluster-listen"
  | "admin-listen"
  | "subnet-file"
  | "ip-masq"
  | "offloads-off"
  | "engine"
  | "ways"
  | "extension-dir"
  | "log-level"
  | "log-format";

export interface AgentFlag {
  /** What stands for the value in the help. */
  readonly placeholder: string;
  readonly help: string;
  /** The value when it is given nowhere; undefined when that is not a constant. */
  readonly fallback?: string;
  /** What the help says in place of `fallback`. */
  readonly fallbackHelp?: string;
  /** May be given more than once. */
  readonly repeatable?: boolean;
  /** Commas separate values in the environment variable. */
  readonly listInEnvironment?: boolean;
  /** The flag alone means "true". */
  readonly boolean?: boolean;
}

/** Every flag of `overlay agent`. */
export const AGENT_FLAGS: Readonly<Record<AgentFlagName, AgentFlag>> = {
  "data-dir": {
    placeholder: "dir",
    help: "identity, keys, log and snapshots; must outlive a reboot",
    fallback: "/var/lib/overlay",
  },
  "run-dir": {
    placeholder: "dir",
    help: "admin socket and subnet.env",
    fallback: "/run/overlay",
  },
  "node-name": {
    placeholder: "name",
    help: "name of this node, an RFC 1123 label",
    fallbackHelp: "host name",
  },
  zone: {
    placeholder: "name",
    help: "where the node stands (rack, room): voters are spread over zones",
    fallbackHelp: "none",
  },
  iface: {
    placeholder: "name|address",
    help: "underlay interface; repeatable, the first that exists is taken",
    fallbackHelp: "interface of the default route",
    repeatable: true,
    listInEnvironment: true,
  },
  "iface-regex": {
    placeholder: "regex",
    help: "the same by regular expression, against addresses, then names; repeatable",
    repeatable: true, // A comma may be part of an expression, so no list in the environment.
  },
  "iface-can-reach": {
    placeholder: "address",
    help: "the same by the route to an address",
  },
  "public-ip": {
    placeholder: "address",
    help: "IPv4 address that peers send to",
    fallbackHelp: "address of the interface",
  },
  "public-ipv6": {
    placeholder: "address",
    help: "IPv6 address that peers send to",
    fallbackHelp: "address of the interface",
  },
  "cluster-listen": {
    placeholder: "address:port",
    help: "where other nodes connect (mutual TLS)",
    fallback: "0.0.0.0:8286",
    fallbackHelp: "0.0.0.0:8286 and [::]:8286",
  },
  "admin-listen": {
    placeholder: "address:port",
    help: "where the admin API listens beside the socket, on loopback",
    fallback: "127.0.0.1:8287",
  },
  "subnet-file": {
    placeholder: "path|none",
    help: "flannel's subnet.env, beside the one in the run directory",
    fallback: "/run/flannel/subnet.env",
  },
  "ip-masq": {
    placeholder: "bool",
    help: "masquerade what leaves the overlay network",
    fallback: "true",
    boolean: true,
  },
  "offloads-off": {
    placeholder: "list",
    help: 'offloads not to use: "all", or some of tso,uso,gso,gro,tcp_join,udp_join',
    fallback: "none",
  },
  engine: {
    placeholder: "auto|user",
    help: "auto: the kernel carries lone packets where it can (eBPF); user: it never does",
    fallback: "auto",
  },
  ways: {
    placeholder: "list",
    help: 'with the backend "auto": ways to take part in; udp is always one',
    fallback: "direct,vxlan,udp",
  },
  "extension-dir": {
    placeholder: "dir",
    help: 'with the backend "extension": the programs that the network config may name',
    fallback: "/etc/overlay/extension",
  },
  "log-level": {
    placeholder: "level",
    help: "debug, info, warn or error",
    fallback: "info",
  },
  "log-format": {
    placeholder: "format",
    help: "text or json",
    fallback: "text",
  },
};

/** The environment variable of a flag: `OVERLAY_DATA_DIR` of "data-dir". */
export function environmentName(name: AgentFlagName): string {
  return `OVERLAY_${name.replaceAll("-", "_").toUpperCase()}`;
}
