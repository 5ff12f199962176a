/**
 * flanneld's options as systemd units find them: /etc/sysconfig/flanneld, /etc/default/flanneld.
 *
 * Every flag may be a variable (`FLANNELD_IFACE`), or a word of one (`FLANNEL_OPTIONS`, as Fedora's
 * unit has it). Pure.
 *
 * @module
 */
import { parseShellVariables } from "./shell-variables.ts";

/** Where the distributions put it. */
export const OPTIONS_FILES = ["/etc/sysconfig/flanneld", "/etc/default/flanneld"] as const;

/** How to reach the etcd of a flannel. */
export interface EtcdOptions {
  readonly endpoints: readonly string[];
  readonly prefix: string | undefined;
  readonly cafile: string | undefined;
  readonly certfile: string | undefined;
  readonly keyfile: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
}

export interface FlanneldOptions {
  readonly etcd: EtcdOptions;
  /** Lines for /etc/overlay/overlay.env: `OVERLAY_IFACE=eth1`. */
  readonly carried: readonly string[];
  /** Flags that mean nothing here, and were given. */
  readonly ignored: readonly string[];
}

/** Flags with the same meaning and the same name. */
const CARRIED = [
  ...["iface", "iface-regex", "iface-can-reach", "public-ip", "subnet-file", "ip-masq"],
];
const LIST_FLAGS = ["iface", "iface-regex"];
const ETCD_FLAGS = [
  ...["etcd-endpoints", "etcd-prefix", "etcd-cafile", "etcd-certfile", "etcd-keyfile"],
  ...["etcd-username", "etcd-password"],
];
/** flannel's own default, which is not ours. */
const MASQUERADE_DEFAULT = "false";

/** What `text` says. */
export function parseFlanneldOptions(text: string): FlanneldOptions {
  const flags = readFlags(parseShellVariables(text));
  const one = (name: string) => flags.get(name)?.at(-1);
  const carried = CARRIED.flatMap((name) => {
    const given = flags.get(name) ?? (name === "ip-masq" ? [MASQUERADE_DEFAULT] : []);
    if (given.length === 0) return [];
    const value = LIST_FLAGS.includes(name) ? given.join(",") : given.at(-1);
    return [`OVERLAY_${name.replaceAll("-", "_").toUpperCase()}=${value}`];
  });
  const known = [...CARRIED, ...ETCD_FLAGS];
  return {
    etcd: {
      endpoints: (one("etcd-endpoints") ?? "").split(",").filter((url) => url !== ""),
      prefix: one("etcd-prefix"),
      cafile: one("etcd-cafile"),
      certfile: one("etcd-certfile"),
      keyfile: one("etcd-keyfile"),
      username: one("etcd-username"),
      password: one("etcd-password"),
    },
    carried,
    ignored: [...flags.keys()].filter((name) => !known.includes(name)),
  };
}

/** Values of flags by name; one on a command line wins over its variable. */
function readFlags(variables: ReadonlyMap<string, string>): Map<string, readonly string[]> {
  const flags = new Map<string, readonly string[]>();
  const fedora: Readonly<Record<string, string>> = {
    FLANNEL_ETCD_ENDPOINTS: "etcd-endpoints",
    FLANNEL_ETCD: "etcd-endpoints",
    FLANNEL_ETCD_PREFIX: "etcd-prefix",
    FLANNEL_ETCD_KEY: "etcd-prefix",
  };
  for (const [name, value] of variables) {
    const flag =
      fedora[name] ?? /^FLANNELD_([A-Z0-9_]+)$/.exec(name)?.[1]?.toLowerCase().replaceAll("_", "-");
    if (flag !== undefined && value !== "") flags.set(flag, [value]);
  }
  const words = (variables.get("FLANNEL_OPTIONS") ?? "").split(/\s+/).filter((it) => it !== "");
  const given = new Map<string, string[]>();
  for (let i = 0; i < words.length; i++) {
    const match = /^--?([a-z0-9-]+)(?:=(.*))?$/.exec(words[i] ?? "");
    if (match?.[1] === undefined) continue;
    const next = words[i + 1];
    // A flag without a value is a switch; Go takes a value for one only behind "=".
    const isSwitch = match[2] === undefined && (next === undefined || next.startsWith("-"));
    const value = match[2] ?? (isSwitch ? "true" : (next ?? ""));
    given.set(match[1], [...(given.get(match[1]) ?? []), value]);
  }
  return new Map([...flags, ...given]);
}
