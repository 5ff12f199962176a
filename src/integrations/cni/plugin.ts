/**
 * The CNI plugin `overlay`: gives a container an address of this node's subnet, by delegation.
 *
 * Loaded alone, without agent or command line: a runtime starts it twice for each container.
 *
 * @module
 */
import { readFileSync, writeSync } from "node:fs";
import { HostError } from "../../base/host-error.ts";
import { type JsonRecord, parseRecord } from "../../base/json-record.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { openSystemClock } from "../../host/clock/system-clock.ts";
import { parseSubnetEnv } from "../flannel/subnet-env.ts";
import { waitForFile } from "../wait-for-file.ts";
import {
  type Attachment,
  type CniCall,
  type CniConfig,
  type CniEnvironment,
  parseCall,
} from "./call.ts";
import { Delegates } from "./delegate.ts";
import {
  delegateType,
  makeDelegateConfig,
  type NodeSubnet,
  nodeSubnet,
  subnetsOf,
  withGateways,
} from "./delegate-config.ts";
import { CNI_CODE, type CniError, cniError, formatError } from "./error.ts";
import { SavedAttachments } from "./saved-attachments.ts";
import { formatVersions } from "./versions.ts";

/** The agent is on this machine: what takes longer is no answer. */
const AGENT_TIMEOUT_MS = 1000;
const STDIN = 0;
const STDOUT = 1;

export interface PluginAnswer {
  readonly exitCode: 0 | 1;
  /** For standard output; empty when there is nothing to say. */
  readonly output: string;
}

/** Answers the runtime that started this process, on its standard streams. Gives the exit code. */
export async function answerRuntime(env: CniEnvironment): Promise<0 | 1> {
  const { exitCode, output } = await runPlugin(env, readFileSync(STDIN, "utf8"));
  // To a pipe, and small enough for it to take whole.
  if (output !== "") writeSync(STDOUT, `${output}\n`);
  return exitCode;
}

/** Does what the runtime asks for. */
export async function runPlugin(env: CniEnvironment, input: string): Promise<PluginAnswer> {
  const call = parseCall(env, input);
  if (!call.ok) {
    return { exitCode: 1, output: formatError(call.error.error, call.error.version) };
  }
  if (call.value.command === "VERSION") {
    return { exitCode: 0, output: formatVersions(call.value.version) };
  }
  const { version } = call.value.config;
  const result = await carryOut(call.value, env).catch((error: unknown) => {
    if (!(error instanceof HostError)) throw error;
    return err(cniError(CNI_CODE.IO_FAILURE, error.message));
  });
  if (!result.ok) return { exitCode: 1, output: formatError(result.error, version) };
  return { exitCode: 0, output: result.value === undefined ? "" : JSON.stringify(result.value) };
}

type Outcome = Result<JsonRecord | undefined, CniError>;

/** What commands work with. */
interface Work {
  readonly config: CniConfig;
  readonly delegates: Delegates;
  readonly saved: SavedAttachments;
}

async function carryOut(
  call: Exclude<CniCall, { command: "VERSION" }>,
  env: CniEnvironment,
): Promise<Outcome> {
  const { config } = call;
  const saved = new SavedAttachments(config.dataDir, config.name);
  const work: Work = { config, delegates: new Delegates(env), saved };
  switch (call.command) {
    case "ADD":
      return await add(work, call.attachment);
    case "DEL":
      return await remove(work, call.attachment);
    case "CHECK":
      return await check(work, call.attachment);
    case "STATUS":
      return await status(work);
    default:
      return await collect(work);
  }
}

async function add({ config, delegates, saved }: Work, attachment: Attachment): Promise<Outcome> {
  const node = await waitForSubnet(config);
  if (node === undefined) {
    const waited = config.waitMs > 0 ? ` after ${config.waitMs / 1000} s` : "";
    const msg = `Cannot add container ${attachment.containerId}: this node has no subnet${waited} ("${config.subnetFile}" is not there or not whole); see "overlay status"`;
    return err(cniError(CNI_CODE.TRY_AGAIN_LATER, msg, await askAgent(config.socket)));
  }
  const delegateConfig = makeDelegateConfig(config, node);
  // First, so that DEL finds it however this ends.
  await saved.save(attachment, delegateConfig);
  const result = await delegates.run({ command: "ADD", config: delegateConfig });
  if (result.ok) return result;
  const undone = await delegates.run({ command: "DEL", config: delegateConfig });
  if (undone.ok) saved.remove(attachment);
  return result;
}

/** Without a saved config (a second DEL, a lost disk) whatever the present one says is undone. */
async function remove(
  { config, delegates, saved }: Work,
  attachment: Attachment,
): Promise<Outcome> {
  const known = await saved.load(attachment);
  const node = known === undefined ? readSubnet(config) : undefined;
  const base = known ?? (node && makeDelegateConfig(config, node));
  if (base === undefined) return ok(undefined);
  const result = await delegates.run({ command: "DEL", config: withPrevious(base, config) });
  if (!result.ok) return result;
  saved.remove(attachment);
  return ok(undefined);
}

async function check({ config, delegates, saved }: Work, attachment: Attachment): Promise<Outcome> {
  const known = await saved.load(attachment);
  const who = `container ${attachment.containerId}`;
  if (known === undefined) {
    const msg = `Cannot check ${who}: it was not added to network "${config.name}" here`;
    return err(cniError(CNI_CODE.UNKNOWN_CONTAINER, msg));
  }
  const node = readSubnet(config);
  const now = node && subnetsOf(makeDelegateConfig(config, node));
  if (now !== undefined && now !== subnetsOf(known)) {
    const msg = `Cannot reach ${who}: it has an address of ${subnetsOf(known)}, and this node's subnet is ${now} now; start it anew`;
    return err(cniError(CNI_CODE.RENUMBERED, msg));
  }
  const { prevResult } = config;
  const previous = prevResult === undefined ? {} : { prevResult: withGateways(prevResult) };
  const base = withPrevious(known, { ...config, ...previous });
  const result = await delegates.run({ command: "CHECK", config: base });
  return result.ok ? ok(undefined) : result;
}

async function status({ config, delegates }: Work): Promise<Outcome> {
  const program = delegates.find(delegateType(config));
  if (!program.ok) return err({ ...program.error, code: CNI_CODE.NOT_AVAILABLE });
  const node = readSubnet(config);
  const agent = await askAgent(config.socket);
  if (node === undefined) {
    const msg = `Cannot add containers: this node has no subnet ("${config.subnetFile}" is not there or not whole); see "overlay status"`;
    return err(cniError(CNI_CODE.NOT_AVAILABLE, msg, agent));
  }
  if (agent.startsWith(NO_AGENT)) {
    const msg = "Cannot reach other nodes: the agent of this node does not answer; start it";
    return err(cniError(CNI_CODE.NOT_AVAILABLE_AND_LIMITED, msg, agent));
  }
  const delegateConfig = makeDelegateConfig(config, node);
  const result = await delegates.run({ command: "STATUS", config: delegateConfig });
  return result.ok ? ok(undefined) : result;
}

/** Undoes what belongs to no valid attachment; goes on after an error, and tells all of them. */
async function collect({ config, delegates, saved }: Work): Promise<Outcome> {
  const valid = new Set(config.validAttachments.map(keyOf));
  const errors: CniError[] = [];
  for (const attachment of saved.list()) {
    if (valid.has(keyOf(attachment))) continue;
    const known = await saved.load(attachment);
    const env = {
      CNI_CONTAINERID: attachment.containerId,
      CNI_IFNAME: attachment.ifname,
      CNI_NETNS: "", // It went with the container.
    };
    const result =
      known === undefined ? ok({}) : await delegates.run({ command: "DEL", config: known, env });
    if (result.ok) saved.remove(attachment);
    else errors.push(result.error);
  }
  const node = readSubnet(config);
  if (node !== undefined) {
    const list = config.validAttachments.map(({ containerId: containerID, ifname }) => {
      return { containerID, ifname };
    });
    const base = { ...makeDelegateConfig(config, node), "cni.dev/valid-attachments": list };
    const result = await delegates.run({ command: "GC", config: base });
    if (!result.ok) errors.push(result.error);
  }
  const [first, ...others] = errors;
  if (first === undefined) return ok(undefined);
  const details = [first.details ?? "", ...others.map(({ msg }) => msg)].filter((it) => it !== "");
  return err(cniError(first.code, first.msg, details.join("; ")));
}

function keyOf({ containerId, ifname }: Attachment): string {
  return `${containerId}:${ifname}`;
}

/** The delegate's config with what the runtime knows of the container now. */
function withPrevious(base: JsonRecord, { prevResult, runtimeConfig, version }: CniConfig) {
  return {
    ...base,
    cniVersion: version,
    ...(runtimeConfig === undefined ? {} : { runtimeConfig }),
    ...(prevResult === undefined ? {} : { prevResult }),
  };
}

async function waitForSubnet(config: CniConfig): Promise<NodeSubnet | undefined> {
  const text = await waitForFile(config.subnetFile, {
    clock: openSystemClock(),
    waitMs: config.waitMs,
    isReady: (found) => nodeSubnet(parseSubnetEnv(found)) !== undefined,
  });
  return text === undefined ? undefined : nodeSubnet(parseSubnetEnv(text));
}

function readSubnet({ subnetFile }: CniConfig): NodeSubnet | undefined {
  try {
    return nodeSubnet(parseSubnetEnv(readFileSync(subnetFile, "utf8")));
  } catch {
    return undefined; // Missing or not readable: either way nothing is known.
  }
}

const NO_AGENT = "No agent answers on";

/** What the agent says of its readiness, for people; empty when it has nothing to complain of. */
async function askAgent(socket: string): Promise<string> {
  try {
    const signal = AbortSignal.timeout(AGENT_TIMEOUT_MS);
    const answer = await fetch("http://localhost/readyz", { unix: socket, signal });
    const reasons = parseRecord(await answer.text())?.["reasons"];
    return Array.isArray(reasons) ? reasons.join("; ") : "";
  } catch {
    return `${NO_AGENT} ${socket}; start it: systemctl start overlay`;
  }
}
