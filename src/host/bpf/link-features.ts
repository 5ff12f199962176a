/**
 * What a link does for the kernel in hardware or pretends to: the features that ethtool lists.
 *
 * Source: include/uapi/linux/ethtool.h, ioctl SIOCETHTOOL. Features have names and no fixed
 * numbers: the names come from the link, in the order of the bits.
 *
 * @module
 */
import { Descriptor } from "../sys/descriptor.ts";
import { checkCall, systemError } from "../sys/errno.ts";
import { lastErrno, libc } from "../sys/libc.ts";
import { kernelBytes, putAddress } from "../sys/memory.ts";

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 0o2000002;
const SIOCETHTOOL = 0x8946;
const IFNAMSIZ = 16;
/** struct ifreq: name 16, then a union of 24 bytes (linux/if.h). */
const IFREQ_SIZE = 40;

const ETHTOOL_GSTRINGS = 0x1b;
const ETHTOOL_GSSET_INFO = 0x37;
const ETHTOOL_GFEATURES = 0x3a;
const ETH_SS_FEATURES = 4;
const ETH_GSTRING_LEN = 32;
/** Words of 32 features each; of four numbers the third says what is on. */
const BLOCK_SIZE = 16;
const ACTIVE_AT = 8;

/** Names of the features of link `name` that are on. Throws `HostError`. */
export function linkFeatures(name: string): ReadonlySet<string> {
  const object = `the features of link "${name}"`;
  const fd = checkCall(libc().socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), "ask for", object);
  using _socket = new Descriptor(fd);
  const ask = (size: number, fill: (view: DataView) => void): DataView => {
    const command = kernelBytes(size);
    fill(command.view);
    const request = kernelBytes(IFREQ_SIZE);
    request.bytes.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
    putAddress(request.view, IFNAMSIZ, command.address);
    if (libc().ioctl(fd, SIOCETHTOOL, request.address) < 0) {
      throw systemError({ operation: "ask for", object, errno: lastErrno() });
    }
    return command.view;
  };

  const count = ask(20, (view) => {
    view.setUint32(0, ETHTOOL_GSSET_INFO, true);
    view.setUint32(8, 1 << ETH_SS_FEATURES, true);
  }).getUint32(16, true);
  const names = ask(12 + count * ETH_GSTRING_LEN, (view) => {
    view.setUint32(0, ETHTOOL_GSTRINGS, true);
    view.setUint32(4, ETH_SS_FEATURES, true);
    view.setUint32(8, count, true);
  });
  const blockCount = Math.ceil(count / 32);
  const states = ask(8 + blockCount * BLOCK_SIZE, (view) => {
    view.setUint32(0, ETHTOOL_GFEATURES, true);
    view.setUint32(4, blockCount, true);
  });
  const active = new Set<string>();
  for (let bit = 0; bit < count; bit++) {
    const word = states.getUint32(8 + (bit >>> 5) * BLOCK_SIZE + ACTIVE_AT, true);
    if (((word >>> (bit & 31)) & 1) === 1) active.add(textAt(names, 12 + bit * ETH_GSTRING_LEN));
  }
  return active;
}

function textAt(view: DataView, at: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, ETH_GSTRING_LEN);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
