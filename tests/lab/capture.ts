/**
 * Packets seen on a link of a namespace, caught by tcpdump and read by our own decoder.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Namespace } from "./namespace.ts";
import { type Ipv4Packet, packetOf } from "./packet.ts";
import { type CapturedFrame, decodePcap } from "./pcap.ts";
import type { LabProcess } from "./process.ts";
import { mustRun } from "./run.ts";
import { waitFor } from "./wait.ts";

export interface CaptureOptions {
  /** A filter in tcpdump's language: "udp port 8285". Everything when absent. */
  readonly filter?: string;
  /** Ends by itself after this many packets; at `stop` when absent. */
  readonly count?: number;
  /** The link to listen on; "eth0" when absent. */
  readonly link?: string;
}

const CAPTURE_TIMEOUT_MS = 10_000;

export class Capture {
  readonly #process: LabProcess;
  readonly #path: string;
  readonly #wanted: number | undefined;

  private constructor(child: LabProcess, path: string, wanted: number | undefined) {
    this.#process = child;
    this.#path = path;
    this.#wanted = wanted;
  }

  /** Resolves once packets are being caught: what is sent after that is seen. */
  static async open(namespace: Namespace, options: CaptureOptions = {}): Promise<Capture> {
    const path = join(namespace.folder, `${namespace.name}-${crypto.randomUUID()}.pcap`);
    const child = namespace.start([
      "tcpdump",
      ...["-i", options.link ?? "eth0", "-n", "-U", "--immediate-mode"],
      ...["-Z", "root"], // Debian's tcpdump would write as a user who may not write here.
      ...["-w", path],
      ...(options.count === undefined ? [] : ["-c", String(options.count)]),
      options.filter ?? "",
    ]);
    await waitFor(() => child.output().includes("listening on"), {
      describe: `${child.name} to listen`,
      details: () => child.tail(5),
    });
    return new Capture(child, path, options.count);
  }

  /** What has been caught so far. */
  frames(): CapturedFrame[] {
    return decodePcap(readFileSync(this.#path));
  }

  /** The IPv4 packets among what has been caught so far. */
  packets(): Ipv4Packet[] {
    return this.frames().flatMap((frame) => packetOf(frame) ?? []);
  }

  /** Waits for the wanted count of packets, or for one at least, and gives what there is. */
  async waitPackets(timeoutMs = CAPTURE_TIMEOUT_MS): Promise<Ipv4Packet[]> {
    const wanted = this.#wanted ?? 1;
    await waitFor(() => this.frames().length >= wanted, {
      timeoutMs,
      describe: `${wanted} packets caught by ${this.#process.name}`,
      details: () => `${this.frames().length} came`,
    });
    return this.packets();
  }

  /** Ends the capture and gives everything it caught. */
  async stop(): Promise<Ipv4Packet[]> {
    await this.#process.terminate();
    return this.packets();
  }

  /** What tcpdump itself makes of the packets: one that is not ours to be mistaken with. */
  async text(): Promise<string> {
    return await mustRun(["tcpdump", "-n", "-v", "-r", this.#path]);
  }
}
