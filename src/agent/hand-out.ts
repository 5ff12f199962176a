/**
 * What an agent hands out on the cluster port: `install.sh` and its own executable, so that a
 * machine becomes a node without any other network.
 *
 *     /install.sh                    with this node's address, key pin and SHA-256 written into it
 *     /overlay, /overlay-linux-x64   the executable of this process, also after an upgrade on disk
 *     ….sha256                       its line for `sha256sum --check`
 *
 * The pin of the key guards the script on its way, and the SHA-256 inside the script guards the
 * executable, whatever fetches it.
 *
 * @module
 */
import { open } from "node:fs/promises";
import { err, ok, type Result } from "../base/result.ts";
import type { HandOut, HandOutBody, HandOutRequest } from "../control/cluster/join/hand-out.ts";
import {
  CLUSTER_PORT,
  formatHostPort,
  parseHostPort,
} from "../control/cluster/transport/host-port.ts";
import { keyHashOf } from "../control/cluster/trust/certificate.ts";
import { INSTALL_SCRIPT } from "../integrations/systemd/packaged.ts";
import { isExecutable, platformName } from "./platform.ts";

/** The file of this process, even when another one has taken its name since. */
const OWN_EXECUTABLE = "/proc/self/exe";
/** Short enough that nothing else in the event loop waits for its hash or its encryption. */
const CHUNK_SIZE_BYTES = 128 * 1024;
const NOTHING_HERE = "overlay node, cluster port; it hands out /install.sh and /overlay";

interface Executable {
  readonly platform: string;
  readonly path: string;
  readonly sizeBytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

let own: Promise<Executable> | undefined;

/** What the node whose certificate (PEM) is `certificate` hands out. */
export function openHandOut(certificate: string): HandOut {
  return { find: (request) => find(request, certificate) };
}

/** The command that installs from `peer` ("host" or "host:port"), its key pinned, and joins. */
export function installLine(options: {
  readonly certificate: string;
  readonly peer: string;
  /** "overlay join …". */
  readonly joinCommand: string;
}): string {
  const { certificate, peer, joinCommand } = options;
  const address = withPort(peer);
  const words = joinCommand.replace(/^overlay /, "");
  const pin = keyPin(certificate);
  return `curl -fsSk --pinnedpubkey '${pin}' https://${address}/install.sh | sh -s -- ${words}`;
}

/** The key of `certificate` in the form of curl's and wget's `--pinnedpubkey`. */
function keyPin(certificate: string): string {
  return `sha256//${Buffer.from(keyHashOf(certificate), "hex").toString("base64")}`;
}

async function find(
  { path, host }: HandOutRequest,
  certificate: string,
): Promise<Result<HandOutBody, string>> {
  const wanted = /^\/(install\.sh|overlay(?:-linux-[a-z0-9-]+)?)(\.sha256)?$/.exec(path);
  const [name, isSum] = [wanted?.[1], wanted?.[2] !== undefined];
  if (name === undefined || (name === "install.sh" && isSum)) return err(NOTHING_HERE);
  if (!isExecutable()) {
    return err("Cannot hand out overlay: this agent runs from source; ask another node");
  }
  const ours = `overlay-${platformName()}`;
  if (name !== "install.sh" && name !== "overlay" && name !== ours) {
    return err(`Cannot hand out "${name}": this node has only "${ours}"; ask a node of that kind`);
  }
  const executable = await ownExecutable();
  if (isSum) return ok(textBody("text/plain", `${executable.sha256}  ${name}\n`));
  if (name !== "install.sh") return ok(executableBody(executable));
  const script = fillIn(INSTALL_SCRIPT, {
    PEER: withPort(host),
    PEER_PIN: keyPin(certificate),
    PEER_PLATFORM: executable.platform,
    PEER_SHA256: executable.sha256,
  });
  return ok(textBody("text/x-shellscript", script));
}

/** `script` with each empty assignment NAME='' given its value, which holds no quote. */
export function fillIn(script: string, values: Readonly<Record<string, string>>): string {
  return Object.entries(values).reduce(
    (text, [name, value]) => text.replace(`\n${name}=''\n`, `\n${name}='${value}'\n`),
    script,
  );
}

/** "192.0.2.1" as "192.0.2.1:8286": a URL has the port of HTTPS otherwise. */
function withPort(peer: string): string {
  const { host, port } = parseHostPort(peer, CLUSTER_PORT) ?? { host: peer, port: CLUSTER_PORT };
  return formatHostPort({ host, port });
}

function textBody(type: string, text: string): HandOutBody {
  const bytes = new TextEncoder().encode(text);
  return {
    type: `${type}; charset=utf-8`,
    sizeBytes: bytes.length,
    async *chunks() {
      yield bytes;
    },
  };
}

function executableBody({ path, sizeBytes }: Executable): HandOutBody {
  return { type: "application/octet-stream", sizeBytes, chunks: () => readChunks(path) };
}

/** Measured once: the file of a process does not change. */
function ownExecutable(): Promise<Executable> {
  own ??= measure();
  own.catch(() => {
    own = undefined;
  });
  return own;
}

async function measure(): Promise<Executable> {
  const hash = new Bun.CryptoHasher("sha256");
  let sizeBytes = 0;
  for await (const chunk of readChunks(OWN_EXECUTABLE)) {
    hash.update(chunk);
    sizeBytes += chunk.length;
  }
  const sha256 = hash.digest("hex");
  return { platform: platformName(), path: OWN_EXECUTABLE, sizeBytes, sha256 };
}

/** The bytes of the file at `path`, in one buffer used again and again. */
async function* readChunks(path: string): AsyncGenerator<Uint8Array> {
  await using file = await open(path);
  const buffer = new Uint8Array(CHUNK_SIZE_BYTES);
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}
