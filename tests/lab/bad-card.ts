/**
 * A network card that does checksums wrong for packets in a VXLAN tunnel, as a BPF program at the
 * port of the switch: what was left to the card to finish goes on as it is. The outer checksum,
 * where that is what was left, it does right. At the host's own link the agent would clean it up.
 *
 * Bytes that are taken out of a packet, and put back, take with them the kernel's mark that
 * something is to be finished, once the mark lies among them.
 *
 * @module
 */

import { decodeLinkIndex } from "../../src/base/ids.ts";
import { Assembler, linkProgram } from "../../src/dataplane/bpf/assembler.ts";
import {
  BPF_ADJ_ROOM_MAC,
  CONTEXT,
  ETH_P_IP_NET,
  ETHERNET_SIZE,
  HELPER,
  IPPROTO_UDP,
  IPV4,
  IPV4_SIZE,
  SKB,
  stack,
  UDP_SIZE,
} from "../../src/dataplane/bpf/helpers.ts";
import { loadProgram } from "../../src/host/bpf/bpf-call.ts";
import { attachProgram } from "../../src/host/bpf/traffic-control.ts";
import { linkIndex } from "../../src/host/link/link-features.ts";
import { createExchange } from "../../src/host/netlink/exchange.ts";
import { enterNetwork } from "../../src/host/sys/namespace.ts";
import { openNetlinkSocket } from "../../src/host/sys/netlink-socket.ts";
import type { Namespace } from "./namespace.ts";

/** Outer IPv4 and UDP, VXLAN, Ethernet and IPv4 again: there the part to finish begins. */
const TUNNEL_SIZE = IPV4_SIZE + UDP_SIZE + 8 + ETHERNET_SIZE + IPV4_SIZE;
const TAKEN_SIZE = TUNNEL_SIZE + ETHERNET_SIZE + 4;
const VXLAN_PORT_NET = 0x1821;
/** Whence the IP header is at a multiple of four. */
const HEAD = stack(-114);
const PSEUDO = stack(-128);
const TC_ACT_OK = 0;
const TC_ACT_SHOT = 2;

/** Spoils what comes in at `port` of `place` from now on, as long as the port is there. */
export function spoilTunnelChecksums(place: Namespace, port: string): void {
  using _there = enterNetwork(`/run/netns/${place.id}`);
  const code = linkProgram(badCard().assemble(), () => 0);
  using program = loadProgram({ name: "bad-card", code });
  const socket = openNetlinkSocket("route");
  try {
    const index = decodeLinkIndex(linkIndex(port));
    attachProgram(createExchange(socket), { link: index, direction: "ingress" }, program);
  } finally {
    socket.close();
  }
}

function badCard(): Assembler {
  const asm = new Assembler();
  asm.copy(CONTEXT, 1);
  asm.load(4, 1, { base: CONTEXT, offset: SKB.PROTOCOL });
  asm.jumpIf(1, "!=", ETH_P_IP_NET, "pass");
  asm.load(4, 1, { base: CONTEXT, offset: SKB.LEN });
  // What is left must still hold an IP header, or the kernel refuses.
  asm.jumpIf(1, "<", ETHERNET_SIZE + TAKEN_SIZE + IPV4_SIZE, "pass");
  transferBytes(asm, HELPER.SKB_LOAD_BYTES, 0, ETHERNET_SIZE + TAKEN_SIZE);
  asm.jumpIf(0, "!=", 0, "pass");
  asm.load(1, 1, stack(HEAD.offset + ETHERNET_SIZE + IPV4.PROTOCOL));
  asm.jumpIf(1, "!=", IPPROTO_UDP, "pass");
  asm.load(2, 1, stack(HEAD.offset + ETHERNET_SIZE + IPV4_SIZE + 2));
  asm.jumpIf(1, "!=", VXLAN_PORT_NET, "pass");
  skipUnfinishedOuter(asm);
  asm.load(4, 1, { base: CONTEXT, offset: SKB.GSO_SIZE });
  asm.jumpIf(1, "!=", 0, "drop");
  for (const bytes of [-TAKEN_SIZE, TAKEN_SIZE]) {
    asm.copy(1, CONTEXT);
    asm.set(2, bytes);
    asm.set(3, BPF_ADJ_ROOM_MAC);
    asm.set(4, 0);
    asm.call(HELPER.SKB_ADJUST_ROOM);
    asm.jumpIf(0, "!=", 0, "drop");
  }
  transferBytes(asm, HELPER.SKB_STORE_BYTES, ETHERNET_SIZE, TAKEN_SIZE);
  asm.jumpIf(0, "!=", 0, "drop");
  asm.label("pass");
  asm.set(0, TC_ACT_OK);
  asm.exit();
  asm.label("drop");
  asm.set(0, TC_ACT_SHOT);
  asm.exit();
  return asm;
}

/** An outer checksum that is to be finished is the sum of the pseudo-header alone (RFC 768). */
function skipUnfinishedOuter(asm: Assembler): void {
  const outer = HEAD.offset + ETHERNET_SIZE;
  const udp = outer + IPV4_SIZE;
  asm.load(4, 1, stack(outer + IPV4.SOURCE));
  asm.store(4, PSEUDO, 1);
  asm.load(4, 1, stack(outer + IPV4.SOURCE + 4));
  asm.store(4, stack(PSEUDO.offset + 4), 1);
  asm.storeValue(2, stack(PSEUDO.offset + 8), IPPROTO_UDP << 8);
  asm.load(2, 1, stack(udp + 4));
  asm.store(2, stack(PSEUDO.offset + 10), 1);
  asm.set(1, 0);
  asm.set(2, 0);
  asm.address(3, PSEUDO);
  asm.set(4, 12);
  asm.set(5, 0);
  asm.call(HELPER.CSUM_DIFF);
  for (let fold = 0; fold < 2; fold++) {
    asm.copy(1, 0);
    asm.alu("rsh", 1, 16);
    asm.alu("and", 0, 0xffff);
    asm.aluRegister("add", 0, 1);
  }
  asm.load(2, 1, stack(udp + 6));
  asm.jumpIfRegister(0, "==", 1, "pass");
}

/** Between the packet and the same place of the copy of its head. */
function transferBytes(asm: Assembler, helper: number, at: number, size: number): void {
  asm.copy(1, CONTEXT);
  asm.set(2, at);
  asm.address(3, stack(HEAD.offset + at));
  asm.set(4, size);
  asm.set(5, 0);
  asm.call(helper);
}
