/**
 * What was said to delegates, kept until DEL: a subnet may be gone by then, a config changed.
 *
 * One file for each attachment, named `<network>:<container>:<interface>`; no name has a colon.
 *
 * @module
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { HostError } from "../../base/host-error.ts";
import { type JsonRecord, parseRecord } from "../../base/json-record.ts";
import { readFileIfAny, writeFileAtomic } from "../../host/files/atomic-file.ts";
import type { Attachment } from "./call.ts";

/** Delegate configs may hold secrets of the user. */
const FILE_MODE = 0o600;

export class SavedAttachments {
  readonly #folder: string;
  readonly #network: string;

  /** Those of the network called `network`. Makes the folder when it is needed. */
  constructor(folder: string, network: string) {
    this.#folder = folder;
    this.#network = network;
  }

  /** Keeps the delegate's config. On stable storage when it resolves. Throws `HostError`. */
  async save(attachment: Attachment, delegateConfig: JsonRecord): Promise<void> {
    const text = `${JSON.stringify(delegateConfig)}\n`;
    await writeFileAtomic(this.#path(attachment), text, { mode: FILE_MODE });
  }

  /** The delegate's config; undefined when none is kept. Throws `HostError`. */
  async load(attachment: Attachment): Promise<JsonRecord | undefined> {
    const bytes = await readFileIfAny(this.#path(attachment));
    return bytes === undefined ? undefined : parseRecord(Buffer.from(bytes).toString("utf8"));
  }

  /** Forgets one; also one that is not there. */
  remove(attachment: Attachment): void {
    rmSync(this.#path(attachment), { force: true });
  }

  /** Every attachment of this network that is kept. */
  list(): readonly Attachment[] {
    return this.#files().flatMap((file) => {
      const [network, containerId, ifname, ...rest] = file.split(":");
      if (network !== this.#network || containerId === undefined || rest.length > 0) return [];
      return ifname === undefined || ifname.endsWith(".tmp") ? [] : [{ containerId, ifname }];
    });
  }

  #files(): readonly string[] {
    try {
      return readdirSync(this.#folder);
    } catch (cause) {
      const errno = cause instanceof Error && "code" in cause ? String(cause.code) : "EIO";
      if (errno === "ENOENT") return [];
      throw new HostError({ operation: "list", object: this.#folder, errno, cause });
    }
  }

  #path({ containerId, ifname }: Attachment): string {
    return join(this.#folder, `${this.#network}:${containerId}:${ifname}`);
  }
}
