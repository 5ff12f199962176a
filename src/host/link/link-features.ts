/**
 * What a link does for the kernel in hardware or pretends to: the features that ethtool lists, and
 * the link's number.
 *
 * Source: include/uapi/linux/ethtool.h, ioctl SIOCETHTOOL; netdevice(7), SIOCGIFINDEX. Features
 * have names and no fixed numbers: the names come from the link, in the order of the bits.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { checkCall, systemError } from "../sys/errno.ts";
import { lastErrno, libc } from "../sys/libc.ts";
import { kernelBytes, putAddress } from "../sys/memory.ts";

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 0o2000002;
const SIOCETHTOOL = 0x8946;
const SIOCGIFINDEX = 0x8933;
const IFNAMSIZ = 16;
/** struct ifreq: name 16, then a union of 24 bytes (linux/if.h). */
const IFREQ_SIZE = 40;

const ETHTOOL_GSTRINGS = 0x1b;
const ETHTOOL_GSSET_INFO = 0x37;
const ETHTOOL_GFEATURES = 0x3a;
const ETHTOOL_SFEATURES = 0x3b;
const ETH_SS_FEATURES = 4;
const ETH_GSTRING_LEN = 32;
/** Words of 32 features each; of four numbers the third says what is on. */
const BLOCK_SIZE = 16;
const ACTIVE_AT = 8;
/** The same to set: which are meant, and which of those are to be on. */
const SET_BLOCK_SIZE = 8;

/** Names of the features of link `name` that are on. Throws `HostError`. */
export function linkFeatures(name: string): ReadonlySet<string> {
  using link = new LinkSocket(name, { operation: "list", what: "the features" });
  const names = link.names();
  const blockCount = Math.ceil(names.length / 32);
  const states = link.ask(8 + blockCount * BLOCK_SIZE, (view) => {
    view.setUint32(0, ETHTOOL_GFEATURES, true);
    view.setUint32(4, blockCount, true);
  });
  const isActive = (bit: number) => {
    const word = states.getUint32(8 + (bit >>> 5) * BLOCK_SIZE + ACTIVE_AT, true);
    return ((word >>> (bit & 31)) & 1) === 1;
  };
  return new Set(names.filter((_, bit) => isActive(bit)));
}

/**
 * Switches one feature of link `name` on or off, and with it what the kernel thinks goes with it.
 * Throws `HostError`, also for a link that has no such feature.
 */
export function setLinkFeature(name: string, feature: string, isOn: boolean): void {
  using link = new LinkSocket(name, { operation: "change", what: "the features" });
  const names = link.names();
  const bit = names.indexOf(feature);
  if (bit < 0) throw new HostError({ ...link.purpose, reason: `it has no ${feature}` });
  const blockCount = Math.ceil(names.length / 32);
  link.ask(8 + blockCount * SET_BLOCK_SIZE, (view) => {
    view.setUint32(0, ETHTOOL_SFEATURES, true);
    view.setUint32(4, blockCount, true);
    const block = 8 + (bit >>> 5) * SET_BLOCK_SIZE;
    const mask = (1 << (bit & 31)) >>> 0;
    view.setUint32(block, mask, true);
    view.setUint32(block + 4, isOn ? mask : 0, true);
  });
}

/** The number of link `name`: another one when it was made anew. Throws `HostError`. */
export function linkIndex(name: string): number {
  using link = new LinkSocket(name, { operation: "find", what: "the number" });
  return link.index();
}

/** A socket, of whatever kind, by which one link is asked. */
class LinkSocket implements Disposable {
  /** For errors. */
  readonly purpose: { readonly operation: string; readonly object: string };
  readonly #name: string;
  readonly #descriptor: Descriptor;

  constructor(name: string, purpose: { readonly operation: string; readonly what: string }) {
    this.#name = name;
    this.purpose = { operation: purpose.operation, object: `${purpose.what} of link "${name}"` };
    const { operation, object } = this.purpose;
    const fd = checkCall(libc().socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), operation, object);
    this.#descriptor = new Descriptor(fd);
  }

  /** Sends the command of `size` bytes that `fill` writes; what the kernel made of it. */
  ask(size: number, fill: (view: DataView) => void): DataView {
    const command = kernelBytes(size);
    fill(command.view);
    this.#request(SIOCETHTOOL, (view) => putAddress(view, IFNAMSIZ, command.address));
    return command.view;
  }

  index(): number {
    return this.#request(SIOCGIFINDEX, () => undefined).getInt32(IFNAMSIZ, true);
  }

  #request(number: number, fill: (view: DataView<ArrayBuffer>) => void): DataView {
    const request = kernelBytes(IFREQ_SIZE);
    request.bytes.set(new TextEncoder().encode(this.#name).subarray(0, IFNAMSIZ - 1));
    fill(request.view);
    if (libc().ioctl(this.#descriptor.fd, number, request.address) < 0) {
      throw systemError({ ...this.purpose, errno: lastErrno() });
    }
    return request.view;
  }

  /** Of all features, by their bits. */
  names(): string[] {
    const count = this.ask(20, (view) => {
      view.setUint32(0, ETHTOOL_GSSET_INFO, true);
      view.setUint32(8, 1 << ETH_SS_FEATURES, true);
    }).getUint32(16, true);
    const names = this.ask(12 + count * ETH_GSTRING_LEN, (view) => {
      view.setUint32(0, ETHTOOL_GSTRINGS, true);
      view.setUint32(4, ETH_SS_FEATURES, true);
      view.setUint32(8, count, true);
    });
    return Array.from({ length: count }, (_, bit) => textAt(names, 12 + bit * ETH_GSTRING_LEN));
  }

  [Symbol.dispose](): void {
    this.#descriptor.close();
  }
}

function textAt(view: DataView, at: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, ETH_GSTRING_LEN);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
