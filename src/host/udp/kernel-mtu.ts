/**
 * What the kernel believes of the way to an address: the path MTU of its routing cache.
 *
 * Source: ip(7), IP_MTU; ipv6(7), IPV6_MTU. It knows from routes with an MTU and from ICMP errors
 * about other connections (those of the cluster go the same way as packets). Anybody can forge such
 * errors, so this is worth a probe and no more.
 *
 * @module
 */
import { addressBytes, addressFamily, type IpAddress } from "../../base/address.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { libc } from "../sys/libc.ts";
import { kernelBytes } from "../sys/memory.ts";
import { AF_INET, AF_INET6, encodeSocketAddress, SOCKADDR_SIZE } from "./socket-address.ts";

const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MTU_OPTION = { 4: { level: 0, name: 14 }, 6: { level: 41, name: 24 } } as const;
/** Nothing is sent to it: a socket must be connected before it can be asked. */
const ANY_PORT = 9;

/** Bytes of the largest IP packet to `target`, or undefined when the kernel has no way there. */
export function kernelPathMtu(target: IpAddress): number | undefined {
  const family = addressFamily(target);
  const fd = libc().socket(family === 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return undefined;
  using _ = new Descriptor(fd);
  const name = kernelBytes(SOCKADDR_SIZE);
  const length = encodeSocketAddress(name.view, addressBytes(target), ANY_PORT);
  if (libc().connect(fd, name.address, length) < 0) return undefined;
  const value = kernelBytes(8);
  value.view.setUint32(4, 4, true);
  const { level, name: option } = MTU_OPTION[family];
  const result = libc().getsockopt(fd, level, option, value.address, value.address + 4);
  return result < 0 ? undefined : value.view.getInt32(0, true);
}
