/**
 * Options for dockerd out of a node's subnet, as lines of `NAME="value"`.
 *
 * Does what flannel's `mk-docker-opts.sh` (v0.28.9) does, and writes the same bytes: systemd units
 * and init scripts read its file. Not copied are its troubles with values that hold blanks. Pure.
 *
 * @module
 */
import { err, ok, type Result } from "../../base/result.ts";

export interface DockerOptionsRequest {
  /** Variables of the process, and over them those of `subnet.env`. */
  readonly variables: ReadonlyMap<string, string>;
  /** Write each option as a variable of its own: `DOCKER_OPT_MTU`. */
  readonly individual: boolean;
  /** Write all of them into the variable `key`. */
  readonly combined: boolean;
  readonly key: string;
  /** Whether `--ip-masq` is written; dockerd of 2014 did not know it. */
  readonly masquerade: boolean;
}

/** The name of the combined variable when none is given. */
export const COMBINED_KEY_DEFAULT = "DOCKER_OPTS";
/** What is in the name of every option; any other program may add some. */
const OPTION_MARK = "DOCKER_OPT_";

/** Whether `text` can be the name of a variable. */
export function isVariableName(text: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(text);
}

/** The text of the file, or why there can be none. */
export function makeDockerOptions(request: DockerOptionsRequest): Result<string, string> {
  const { variables, individual, combined, key, masquerade } = request;
  const all = new Map(variables);
  const subnet = variables.get("FLANNEL_SUBNET") ?? "";
  const mtu = variables.get("FLANNEL_MTU") ?? "";
  const masqueraded = variables.get("FLANNEL_IPMASQ") ?? "";
  if (subnet !== "") all.set("DOCKER_OPT_BIP", `--bip=${subnet}`);
  if (mtu !== "") all.set("DOCKER_OPT_MTU", `--mtu=${mtu}`);
  if (masquerade && masqueraded !== "") {
    if (masqueraded !== "true" && masqueraded !== "false") {
      return err(`FLANNEL_IPMASQ is "${masqueraded}", and must be true or false`);
    }
    // One of the two masquerades, never both: the other would hide containers from each other.
    all.set("DOCKER_OPT_IPMASQ", `--ip-masq=${masqueraded === "false"}`);
  }
  const options = [...all].filter(([name]) => name.includes(OPTION_MARK)).sort(byName);
  const lines = individual ? options.map(([name, value]) => `${name}="${value}"\n`) : [];
  if (combined) {
    const before = all.get(key) ?? "";
    const words = options.map(([, value]) => ` ${value}`).join("");
    lines.push(`${key}="${before === "" ? "" : `${before} `}${words}"\n`);
  }
  return ok(lines.join(""));
}

/** In the order of their bytes, as a shell lists its variables. */
function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : 1;
}
