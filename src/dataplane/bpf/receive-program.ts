/**
 * The program at the ingress of the underlay: it takes plain datagrams that a peer's kernel sent,
 * decapsulates them, and hands them to the overlay link. Everything else goes on to the socket.
 *
 * A datagram is taken only if it is for this node's address and port, carries no outer checksum
 * (the mark of a kernel; see transmit-program.ts), holds exactly one bare IPv4 packet without
 * options and fragments, comes from the endpoint of the node that owns the inner source, and goes
 * to our own lease. So nothing passes here that user mode would not let pass; what is not taken,
 * user mode judges, drops and counts by reason.
 *
 * @module
 */
import { Assembler, type Program, type Register } from "./assembler.ts";
import {
  after,
  BPF_ADJ_ROOM_MAC,
  BPF_F_ADJ_ROOM_FIXED_GSO,
  BPF_F_INGRESS,
  CONTEXT,
  checkControl,
  checkMss,
  countPacket,
  ETH_P_IP_NET,
  ETHERNET_SIZE,
  FRAGMENT_BITS_NET,
  foldSum,
  HELPER,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV4,
  IPV4_PLAIN,
  IPV4_SIZE,
  lookUpRoute,
  OUTER_SIZE,
  putEnds,
  SEEN_UNIT_BITS,
  SKB,
  stack,
  TCP,
  TCP_SYN,
  TCP_WITH_MSS_SIZE,
  UDP_SIZE,
} from "./helpers.ts";
import { PEER_COUNTER, ROUTE, ROUTE_LOCAL, ROUTE_PEER, RX_REASONS } from "./layout.ts";

export interface ReceiveOptions {
  /** This node's underlay address, as the number that its four bytes make in network order. */
  readonly address: number;
  /** UDP port that it listens on, host order. */
  readonly port: number;
  /** Index of the overlay link. */
  readonly overlayLink: number;
}

const LENGTH: Register = 7;
const ROUTE_AT: Register = 8;
const NOW: Register = 9;

/** Outer IPv4, UDP and inner IPv4 header. */
const LOOK_SIZE = OUTER_SIZE + IPV4_SIZE;
const OUTER = stack(-64);
const SYN = stack(-72);
const UDP = after(OUTER, IPV4_SIZE);
const INNER = after(OUTER, OUTER_SIZE);
/** Seen times are written this often at most, so that cores do not fight for the line. */
const SEEN_STEP_UNITS = 16;

/** Assembles the program for one node. */
export function receiveProgram(options: ReceiveOptions): Program {
  const asm = new Assembler();
  readDatagram(asm, options);
  checkLengths(asm);
  checkHeaderSum(asm, OUTER);
  checkHeaderSum(asm, INNER);
  checkAddresses(asm);
  checkSyn(asm);
  deliver(asm, options);
  putEnds(asm, RX_REASONS);
  return asm.assemble();
}

/** Whether this is for us at all; most packets of a busy card leave here, uncounted. */
function readDatagram(asm: Assembler, { address, port }: ReceiveOptions): void {
  asm.copy(CONTEXT, 1);
  asm.load(4, 0, { base: CONTEXT, offset: SKB.PROTOCOL });
  asm.jumpIf(0, "!=", ETH_P_IP_NET, "pass");
  asm.load(4, 0, { base: CONTEXT, offset: SKB.PKT_TYPE });
  asm.jumpIf(0, "!=", 0, "pass");
  asm.load(4, 0, { base: CONTEXT, offset: SKB.VLAN_PRESENT });
  asm.jumpIf(0, "!=", 0, "pass");
  asm.load(4, LENGTH, { base: CONTEXT, offset: SKB.LEN });
  asm.copy(1, CONTEXT);
  asm.set(2, ETHERNET_SIZE);
  asm.address(3, OUTER);
  asm.set(4, LOOK_SIZE);
  asm.call(HELPER.SKB_LOAD_BYTES);
  asm.jumpIf(0, "!=", 0, "pass");
  asm.load(4, 1, after(OUTER, IPV4.TARGET));
  asm.swap(1, 32);
  asm.jumpIf32(1, "!=", address | 0, "pass");
  asm.load(1, 1, after(OUTER, IPV4.PROTOCOL));
  asm.jumpIf(1, "!=", IPPROTO_UDP, "pass");
  asm.load(1, 1, OUTER);
  asm.jumpIf(1, "!=", IPV4_PLAIN, "pass");
  asm.load(2, 1, after(OUTER, IPV4.FRAGMENT));
  asm.jumpIf(1, "&", FRAGMENT_BITS_NET, "pass");
  asm.load(2, 1, after(UDP, 2));
  asm.swap(1, 16);
  asm.jumpIf(1, "!=", port, "pass");
  asm.load(2, 1, after(UDP, 6));
  asm.jumpIf(1, "!=", 0, "rx_user_mode");
}

/** Three lengths must agree: of the frame, of the datagram, of the packet in it. */
function checkLengths(asm: Assembler): void {
  asm.alu("sub", LENGTH, ETHERNET_SIZE);
  asm.load(2, 1, after(OUTER, IPV4.LENGTH));
  asm.swap(1, 16);
  asm.jumpIfRegister(1, "!=", LENGTH, "rx_not_taken");
  asm.alu("sub", LENGTH, IPV4_SIZE);
  asm.load(2, 1, after(UDP, 4));
  asm.swap(1, 16);
  asm.jumpIfRegister(1, "!=", LENGTH, "rx_not_taken");
  asm.alu("sub", LENGTH, UDP_SIZE);
  asm.load(2, 1, after(INNER, IPV4.LENGTH));
  asm.swap(1, 16);
  asm.jumpIfRegister(1, "!=", LENGTH, "rx_not_taken");
  asm.load(1, 1, INNER);
  asm.jumpIf(1, "!=", IPV4_PLAIN, "rx_not_taken");
  asm.load(2, 1, after(INNER, IPV4.FRAGMENT));
  asm.jumpIf(1, "&", FRAGMENT_BITS_NET, "rx_not_taken");
}

/** The checksum of the IPv4 header at `header`. */
function checkHeaderSum(asm: Assembler, header: typeof OUTER): void {
  asm.set(0, 0);
  for (let at = 0; at < IPV4_SIZE; at += 4) {
    asm.load(4, 1, after(header, at));
    asm.aluRegister("add", 0, 1);
  }
  foldSum(asm, 0, 1);
  asm.jumpIf(0, "!=", 0xffff, "rx_not_taken");
}

/** The sender must own the inner source, and the inner target must be ours. */
function checkAddresses(asm: Assembler): void {
  asm.load(4, 1, after(INNER, IPV4.TARGET));
  lookUpRoute(asm, 1);
  asm.jumpIf(0, "==", 0, "rx_target");
  asm.load(4, 1, { base: 0, offset: ROUTE.FLAGS });
  asm.alu("and", 1, ROUTE_LOCAL);
  asm.jumpIf(1, "==", 0, "rx_target");
  asm.load(4, 1, after(INNER, IPV4.SOURCE));
  lookUpRoute(asm, 1);
  asm.jumpIf(0, "==", 0, "rx_source");
  asm.copy(ROUTE_AT, 0);
  asm.load(4, 1, { base: ROUTE_AT, offset: ROUTE.FLAGS });
  asm.alu("and", 1, ROUTE_PEER);
  asm.jumpIf(1, "==", 0, "rx_source");
  asm.load(4, 1, { base: ROUTE_AT, offset: ROUTE.ADDRESS });
  asm.load(4, 2, after(OUTER, IPV4.SOURCE));
  asm.jumpIfRegister(1, "!=", 2, "rx_source");
  asm.load(2, 1, { base: ROUTE_AT, offset: ROUTE.PORT });
  asm.load(2, 2, UDP);
  asm.jumpIfRegister(1, "!=", 2, "rx_source");
  asm.call(HELPER.KTIME_GET_NS);
  asm.copy(NOW, 0);
  checkControl(asm, NOW, "rx_expired");
}

/** A SYN that announces more than fits the way back is for user mode. */
function checkSyn(asm: Assembler): void {
  asm.load(1, 1, after(INNER, IPV4.PROTOCOL));
  asm.jumpIf(1, "!=", IPPROTO_TCP, "no_syn");
  asm.jumpIf(LENGTH, "<", IPV4_SIZE + TCP.SIZE, "rx_not_taken");
  loadTransport(asm, { at: TCP.FLAGS, size: 1 });
  asm.load(1, 1, SYN);
  asm.jumpIf(1, "&", TCP_SYN, "syn");
  asm.jump("no_syn");
  asm.label("syn");
  asm.jumpIf(LENGTH, "<", IPV4_SIZE + TCP_WITH_MSS_SIZE, "rx_syn");
  loadTransport(asm, { at: TCP.OPTIONS, size: 4 });
  checkMss(asm, SYN, { mtu: { base: ROUTE_AT, offset: ROUTE.MTU }, clamp: "rx_syn" });
  asm.label("no_syn");
}

/** Bytes of the inner transport header to SYN. */
function loadTransport(asm: Assembler, part: { readonly at: number; readonly size: number }): void {
  asm.copy(1, CONTEXT);
  asm.set(2, ETHERNET_SIZE + OUTER_SIZE + IPV4_SIZE + part.at);
  asm.address(3, SYN);
  asm.set(4, part.size);
  asm.call(HELPER.SKB_LOAD_BYTES);
  asm.jumpIf(0, "!=", 0, "rx_failed");
}

/** Takes the outer headers off and hands the packet to the overlay link. */
function deliver(asm: Assembler, { overlayLink }: ReceiveOptions): void {
  asm.copy(1, CONTEXT);
  asm.set(2, -OUTER_SIZE);
  asm.set(3, BPF_ADJ_ROOM_MAC);
  asm.set(4, BPF_F_ADJ_ROOM_FIXED_GSO);
  asm.call(HELPER.SKB_ADJUST_ROOM);
  asm.jumpIf(0, "!=", 0, "rx_failed");
  asm.copy(2, NOW);
  asm.alu("rsh", 2, SEEN_UNIT_BITS);
  asm.load(4, 1, { base: ROUTE_AT, offset: ROUTE.SEEN });
  asm.copy(3, 2);
  asm.aluRegister("sub", 3, 1);
  asm.alu("lsh", 3, 32);
  asm.alu("rsh", 3, 32);
  asm.jumpIf(3, "<", SEEN_STEP_UNITS, "seen");
  asm.store(4, { base: ROUTE_AT, offset: ROUTE.SEEN }, 2);
  asm.label("seen");
  countPacket(asm, {
    route: ROUTE_AT,
    slotAt: ROUTE.SLOT,
    bytes: LENGTH,
    packetsAt: PEER_COUNTER.RX_PACKETS,
    label: "counted",
  });
  // All datagrams of a peer have one outer hash; the inner flows must be told apart again.
  asm.copy(1, CONTEXT);
  asm.call(HELPER.SET_HASH_INVALID);
  asm.set(1, overlayLink);
  asm.set(2, BPF_F_INGRESS);
  asm.call(HELPER.REDIRECT);
  asm.exit();
}
