/**
 * The program at the egress of the overlay link: it encapsulates lone packets and sends them into
 * the underlay, and leaves everything else to the TUN, that is, to user mode.
 *
 *   ours? ─► route? ─► super-packet? ─► flow in user mode? ─► fits? ─► checksum ─► encapsulate
 *     └─────────┴────────────┴──────────────────┴──────────────┴──────────┴──► user mode
 *
 * Order within a flow. A super-packet goes through user mode, which takes a while, so a lone packet
 * behind it must not take the short way: a flow is left in user mode until it has paused there for
 * FLOW_PAUSE_NS. The other way round nothing can be overtaken.
 *
 * Checksums. What leaves is finished, whoever reads it: a network card, another kernel, a socket.
 * A packet whose TCP or UDP checksum is the bare pseudo-header sum is one that the stack left for
 * later (CHECKSUM_PARTIAL). The program finishes it, and makes the kernel forget that anything is
 * to be done: taking away the bytes in which the checksum would start does that
 * (skb_postpull_rcsum in include/linux/skbuff.h), and then they are put back. Any other checksum
 * must be right as it is; if not, something deeper in the packet is unfinished, and user mode,
 * which sees what, sends it. The outer UDP checksum is 0 (RFC 768: none), as the inner ones
 * protect the packet. That also marks the datagram: it came from a kernel, whose lone packets are
 * in order, so the receiving kernel may take it; user mode always fills that field.
 *
 * @module
 */
import { Assembler, type Program, type Register } from "./assembler.ts";
import {
  after,
  BPF_ADJ_ROOM_MAC,
  BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
  BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
  BPF_F_ADJ_ROOM_FIXED_GSO,
  CONTEXT,
  checkControl,
  checkMss,
  countPacket,
  ETH_P_IP_NET,
  ETHERNET_SIZE,
  FRAGMENT_BITS_NET,
  foldSum,
  HELPER,
  IPPROTO_ICMP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV4,
  IPV4_PLAIN,
  IPV4_SIZE,
  lookUp,
  lookUpIndex,
  lookUpRoute,
  OUTER_SIZE,
  putDrop,
  putEnds,
  SEEN_UNIT_BITS,
  SKB,
  stack,
  TCP,
  TCP_SYN,
  TCP_WITH_MSS_SIZE,
  UDP_SIZE,
} from "./helpers.ts";
import { PEER_COUNTER, ROUTE, ROUTE_PEER, TRANSPORT_SIZE_MAX, TX_REASONS } from "./layout.ts";

export interface TransmitOptions {
  /** This node's underlay address, as the number that its four bytes make in network order. */
  readonly address: number;
  /** Bytes in front of the inner packet: 0 on a TUN, 14 where a test runs the program. */
  readonly linkHeaderSize: 0 | 14;
}

/** How long a flow must rest in user mode before lone packets of it take the short way. */
export const FLOW_PAUSE_NS = 50_000_000;
const CLOCK_SLACK_NS = 1_000_000;
/** How long ago a peer's kernel may have spoken for its wire to be taken as it was: about 1 s. */
export const WHOLE_SEEN_UNITS_MAX = 1000;
/** With outer and Ethernet headers a super-packet must stay below a link's 65,536 bytes. */
const WHOLE_SIZE_MAX = 65_536 - 1 - OUTER_SIZE - ETHERNET_SIZE;
const OUTER_TTL = 64;
/** Bytes taken away and put back: past the start of the transport header, so 21 at least. */
const LAUNDER_SIZE = 24;
/** Inner bytes that the program looks at. */
const LOOK_SIZE = 28;
/** What bpf_csum_diff takes at once before Linux 6.13. */
const SUM_SIZE_MAX = 512;
const CHECKSUM_AT_UDP = 6;
const CHECKSUM_NEW = 0x1_0000;

const LENGTH: Register = 7;
const ROUTE_AT: Register = 8;
/** The time, and later the length of what is still to be summed. */
const REST: Register = 9;

const FLOW_KEY = stack(-32);
/** The checksum to write, with CHECKSUM_NEW; 0 when the packet's own is right. */
const CHECKSUM = stack(-40);
const SUM = stack(-56);
const SCRATCH = stack(-64);
const NOW = stack(-72);
/** The outer headers as they are made, and behind them the first inner bytes. */
const OUTER = stack(-128);
const INNER = after(OUTER, OUTER_SIZE);

/** Assembles the program for one node. */
export function transmitProgram(options: TransmitOptions): Program {
  const asm = new Assembler();
  readPacket(asm, options.linkHeaderSize);
  findRoute(asm);
  judgeFlow(asm);
  sumUp(asm, options.linkHeaderSize);
  judgeChecksum(asm);
  asm.label("encapsulate");
  composeOuter(asm, options);
  launder(asm, options.linkHeaderSize);
  sendWhole(asm, options.linkHeaderSize);
  send(asm, options.linkHeaderSize);
  putEnds(asm, TX_REASONS);
  putDrop(asm);
  return asm.assemble();
}

/** Inner header to the stack; IPv4 without options, of a kind that is understood. */
function readPacket(asm: Assembler, linkHeaderSize: number): void {
  asm.copy(CONTEXT, 1);
  asm.load(4, 0, { base: CONTEXT, offset: SKB.PROTOCOL });
  asm.jumpIf(0, "!=", ETH_P_IP_NET, "pass");
  asm.load(4, LENGTH, { base: CONTEXT, offset: SKB.LEN });
  asm.alu("sub", LENGTH, linkHeaderSize);
  asm.copy(1, CONTEXT);
  asm.set(2, linkHeaderSize);
  asm.address(3, INNER);
  asm.set(4, LOOK_SIZE);
  asm.call(HELPER.SKB_LOAD_BYTES);
  asm.jumpIf(0, "!=", 0, "tx_not_taken");
  asm.load(1, 1, INNER);
  asm.jumpIf(1, "!=", IPV4_PLAIN, "tx_not_taken");
  asm.load(2, 1, after(INNER, IPV4.FRAGMENT));
  asm.jumpIf(1, "&", FRAGMENT_BITS_NET, "tx_not_taken");
}

/** The peer that owns the target, while the agent stands by its tables. */
function findRoute(asm: Assembler): void {
  asm.load(4, 1, after(INNER, IPV4.TARGET));
  lookUpRoute(asm, 1);
  asm.jumpIf(0, "==", 0, "tx_no_route");
  asm.copy(ROUTE_AT, 0);
  asm.load(4, 1, { base: ROUTE_AT, offset: ROUTE.FLAGS });
  asm.alu("and", 1, ROUTE_PEER);
  asm.jumpIf(1, "==", 0, "tx_no_route");
  asm.call(HELPER.KTIME_GET_NS);
  asm.copy(REST, 0);
  asm.store(8, NOW, REST);
  checkControl(asm, REST, "tx_expired");
}

/** Keeps a flow together: what must go through user mode, and what must follow it. */
function judgeFlow(asm: Assembler): void {
  asm.storeValue(8, CHECKSUM, 0);
  asm.load(1, 1, after(INNER, IPV4.PROTOCOL));
  asm.jumpIf(1, "==", IPPROTO_ICMP, "lone");
  asm.jumpIf(1, "==", IPPROTO_TCP, "ports");
  asm.jumpIf(1, "!=", IPPROTO_UDP, "tx_not_taken");
  asm.label("ports");
  asm.store(4, after(FLOW_KEY, 12), 1);
  asm.load(8, 1, after(INNER, IPV4.SOURCE));
  asm.store(8, FLOW_KEY, 1);
  asm.load(4, 1, after(INNER, IPV4_SIZE));
  asm.store(4, after(FLOW_KEY, 8), 1);
  lookUp(asm, "flows", FLOW_KEY);
  asm.jumpIf(0, "==", 0, "at_rest");
  asm.load(8, 1, { base: 0, offset: 0 });
  asm.copy(2, REST);
  // Another core may have written a slightly later time in between.
  asm.alu("add", 2, CLOCK_SLACK_NS);
  asm.aluRegister("sub", 2, 1);
  asm.jumpIf(2, ">", FLOW_PAUSE_NS + CLOCK_SLACK_NS, "at_rest");
  asm.store(8, { base: 0, offset: 0 }, REST);
  asm.load(4, 1, { base: CONTEXT, offset: SKB.GSO_SIZE });
  asm.jumpIf(1, "!=", 0, "tx_super_packet");
  asm.jump("tx_flow_in_user_mode");

  asm.label("at_rest");
  asm.load(4, 1, { base: CONTEXT, offset: SKB.GSO_SIZE });
  asm.jumpIf(1, "==", 0, "lone");
  judgeWhole(asm);
  asm.map(1, "flows");
  asm.address(2, FLOW_KEY);
  asm.address(3, NOW);
  asm.set(4, 0);
  asm.call(HELPER.MAP_UPDATE_ELEM);
  asm.jump("tx_super_packet");

  asm.label("lone");
  asm.load(2, 1, { base: ROUTE_AT, offset: ROUTE.MTU });
  asm.jumpIfRegister(LENGTH, ">", 1, "tx_too_big");
  asm.load(2, 1, after(INNER, IPV4.LENGTH));
  asm.swap(1, 16);
  asm.jumpIfRegister(LENGTH, "!=", 1, "tx_not_taken");
  asm.load(1, 1, after(INNER, IPV4.PROTOCOL));
  asm.jumpIf(1, "==", IPPROTO_ICMP, "encapsulate");
}

/** TCP super-packets to the peer itself go whole where wire and peer's kernel take them. */
function judgeWhole(asm: Assembler): void {
  asm.load(4, 1, { base: ROUTE_AT, offset: ROUTE.WHOLE_TARGET });
  asm.load(4, 2, after(INNER, IPV4.TARGET));
  asm.jumpIfRegister(1, "!=", 2, "not_whole");
  asm.load(1, 1, after(INNER, IPV4.PROTOCOL));
  asm.jumpIf(1, "!=", IPPROTO_TCP, "not_whole");
  asm.jumpIf(LENGTH, ">", WHOLE_SIZE_MAX, "not_whole");
  asm.load(4, 1, { base: ROUTE_AT, offset: ROUTE.SEEN });
  asm.copy(2, REST);
  asm.alu("rsh", 2, SEEN_UNIT_BITS);
  asm.aluRegister("sub", 2, 1);
  asm.alu("lsh", 2, 32);
  asm.alu("rsh", 2, 32);
  asm.jumpIf(2, "<=", WHOLE_SEEN_UNITS_MAX, "encapsulate");
  asm.label("not_whole");
}

/** r0 = the sum of the transport part, not folded. */
function sumUp(asm: Assembler, linkHeaderSize: number): void {
  asm.copy(REST, LENGTH);
  asm.alu("sub", REST, IPV4_SIZE);
  asm.jumpIf(REST, ">", TRANSPORT_SIZE_MAX, "tx_too_big");
  asm.jumpIf(REST, "<", UDP_SIZE, "tx_not_taken");
  lookUpIndex(asm, "scratch", 0);
  asm.jumpIf(0, "==", 0, "tx_failed");
  asm.store(8, SCRATCH, 0);
  asm.copy(1, 0);
  asm.aluRegister("add", 1, REST);
  asm.storeValue(4, { base: 1, offset: 0 }, 0);
  asm.copy(1, CONTEXT);
  asm.set(2, linkHeaderSize + IPV4_SIZE);
  asm.copy(3, 0);
  asm.copy(4, REST);
  asm.call(HELPER.SKB_LOAD_BYTES);
  asm.jumpIf(0, "!=", 0, "tx_failed");
  asm.alu("add", REST, 3);
  asm.alu("and", REST, ~3);
  asm.storeValue(8, SUM, 0);
  for (let at = 0; at < TRANSPORT_SIZE_MAX - SUM_SIZE_MAX; at += SUM_SIZE_MAX) {
    asm.load(8, 3, SCRATCH);
    if (at > 0) asm.alu("add", 3, at);
    asm.jumpIf(REST, "<=", SUM_SIZE_MAX, "last_sum");
    asm.set(4, SUM_SIZE_MAX);
    addSum(asm);
    asm.store(8, SUM, 0);
    asm.alu("sub", REST, SUM_SIZE_MAX);
  }
  asm.load(8, 3, SCRATCH);
  asm.alu("add", 3, TRANSPORT_SIZE_MAX - SUM_SIZE_MAX);
  asm.label("last_sum");
  asm.copy(4, REST);
  addSum(asm);
}

/** r0 = SUM and the r4 bytes from r3 on. */
function addSum(asm: Assembler): void {
  asm.set(1, 0);
  asm.set(2, 0);
  asm.load(8, 5, SUM);
  asm.call(HELPER.CSUM_DIFF);
  asm.alu("lsh", 0, 32);
  asm.alu("rsh", 0, 32);
}

/** Right as it is, to be finished, or for user mode. */
function judgeChecksum(asm: Assembler): void {
  foldSum(asm, 0, 1);
  asm.copy(REST, 0);
  asm.load(4, 2, after(INNER, IPV4.SOURCE));
  asm.load(4, 1, after(INNER, IPV4.TARGET));
  asm.aluRegister("add", 2, 1);
  asm.copy(3, LENGTH);
  asm.alu("sub", 3, IPV4_SIZE);
  asm.swap(3, 16);
  asm.aluRegister("add", 2, 3);
  asm.load(1, 4, after(INNER, IPV4.PROTOCOL));
  asm.copy(3, 4);
  asm.alu("lsh", 3, 8);
  asm.aluRegister("add", 2, 3);
  foldSum(asm, 2, 3);
  asm.load(8, 1, SCRATCH);
  asm.load(2, 3, { base: 1, offset: CHECKSUM_AT_UDP });
  asm.jumpIf(4, "==", IPPROTO_UDP, "field");
  asm.jumpIf(LENGTH, "<", IPV4_SIZE + TCP.SIZE, "tx_not_taken");
  asm.load(1, 5, { base: 1, offset: TCP.FLAGS });
  asm.jumpIf(5, "&", TCP_SYN, "syn");
  asm.jump("no_syn");
  asm.label("syn");
  asm.jumpIf(LENGTH, "<", IPV4_SIZE + TCP_WITH_MSS_SIZE, "tx_syn");
  const mtu = { base: ROUTE_AT, offset: ROUTE.MTU };
  checkMss(asm, { base: 1, offset: TCP.OPTIONS }, { mtu, clamp: "tx_syn" });
  asm.label("no_syn");
  asm.load(2, 3, { base: 1, offset: TCP.CHECKSUM });
  asm.label("field");
  asm.jumpIf(3, "==", 0, "tx_checksum");
  asm.jumpIfRegister(3, "==", 2, "finish");
  asm.aluRegister("add", 2, REST);
  foldSum(asm, 2, 3);
  asm.jumpIf(2, "!=", 0xffff, "tx_checksum");
  asm.jump("encapsulate");
  asm.label("finish");
  asm.alu("xor", REST, 0xffff);
  // 0 would say "no checksum"; both are the same number in ones' complement.
  asm.jumpIf(REST, "!=", 0, "finished");
  asm.set(REST, 0xffff);
  asm.label("finished");
  asm.alu("or", REST, CHECKSUM_NEW);
  asm.store(8, CHECKSUM, REST);
}

/** The outer IPv4 and UDP headers at OUTER. */
function composeOuter(asm: Assembler, { address }: TransmitOptions): void {
  const source = networkWord(address);
  asm.storeValue(2, OUTER, IPV4_PLAIN);
  asm.copy(2, LENGTH);
  asm.alu("add", 2, OUTER_SIZE);
  asm.swap(2, 16);
  asm.store(2, after(OUTER, IPV4.LENGTH), 2);
  asm.call(HELPER.GET_PRANDOM_U32);
  asm.alu("and", 0, 0xffff);
  asm.store(2, after(OUTER, IPV4.ID), 0);
  asm.storeValue(2, after(OUTER, IPV4.FRAGMENT), 0);
  asm.storeValue(2, after(OUTER, IPV4.TTL), (IPPROTO_UDP << 8) | OUTER_TTL);
  asm.storeValue(4, after(OUTER, IPV4.SOURCE), source);
  asm.load(4, 3, { base: ROUTE_AT, offset: ROUTE.ADDRESS });
  asm.store(4, after(OUTER, IPV4.TARGET), 3);
  // RFC 791: the ones' complement of the sum of all words; the fixed ones are summed here.
  asm.load(2, 2, after(OUTER, IPV4.LENGTH));
  asm.aluRegister("add", 0, 2);
  asm.aluRegister("add", 0, 3);
  const fixed = IPV4_PLAIN + ((IPPROTO_UDP << 8) | OUTER_TTL);
  asm.alu("add", 0, fixed + (source & 0xffff) + (source >>> 16));
  foldSum(asm, 0, 1);
  asm.alu("xor", 0, 0xffff);
  asm.store(2, after(OUTER, IPV4.CHECKSUM), 0);
  const udp = after(OUTER, IPV4_SIZE);
  // From the port that it goes to: nodes have the same one, and while they change it, both.
  asm.load(2, 1, { base: ROUTE_AT, offset: ROUTE.PORT });
  asm.store(2, udp, 1);
  asm.store(2, after(udp, 2), 1);
  asm.copy(1, LENGTH);
  asm.alu("add", 1, UDP_SIZE);
  asm.swap(1, 16);
  asm.store(2, after(udp, 4), 1);
  asm.storeValue(2, after(udp, 6), 0);
}

/** Makes room in front and writes the headers; a packet to finish is rid of its mark on the way. */
function launder(asm: Assembler, linkHeaderSize: number): void {
  asm.load(8, REST, CHECKSUM);
  asm.jumpIf(REST, "==", 0, "grow");
  // What is left without the bytes must still hold an IP header, or the kernel refuses.
  asm.jumpIf(LENGTH, ">=", LAUNDER_SIZE + IPV4_SIZE, "long_enough");
  changeTail(asm, linkHeaderSize + LAUNDER_SIZE);
  asm.jumpIf(0, "!=", 0, "tx_failed");
  asm.label("long_enough");
  adjustRoom(asm, -LAUNDER_SIZE, 0);
  asm.jumpIf(0, "!=", 0, "drop");
  adjustRoom(asm, OUTER_SIZE + LAUNDER_SIZE, 0);
  asm.jumpIf(0, "!=", 0, "drop");
  storeBytes(asm, linkHeaderSize, OUTER_SIZE + LAUNDER_SIZE);
  asm.jumpIf(0, "!=", 0, "drop");
  asm.jumpIf(LENGTH, ">=", LAUNDER_SIZE + IPV4_SIZE, "write_checksum");
  changeTail(asm, linkHeaderSize + OUTER_SIZE);
  asm.jumpIf(0, "!=", 0, "drop");
  asm.label("write_checksum");
  asm.store(8, CHECKSUM, REST);
  asm.set(2, linkHeaderSize + OUTER_SIZE + IPV4_SIZE + CHECKSUM_AT_UDP);
  asm.load(1, 1, after(INNER, IPV4.PROTOCOL));
  asm.jumpIf(1, "==", IPPROTO_UDP, "write_it");
  asm.set(2, linkHeaderSize + OUTER_SIZE + IPV4_SIZE + TCP.CHECKSUM);
  asm.label("write_it");
  asm.copy(1, CONTEXT);
  asm.address(3, CHECKSUM);
  asm.set(4, 2);
  asm.set(5, 0);
  asm.call(HELPER.SKB_STORE_BYTES);
  asm.jumpIf(0, "!=", 0, "drop");
  asm.jump("send");
}

/** The plain growth: nothing is taken away first. */
function sendWhole(asm: Assembler, linkHeaderSize: number): void {
  asm.label("grow");
  asm.load(4, 1, { base: CONTEXT, offset: SKB.GSO_SIZE });
  asm.jumpIf(1, "!=", 0, "grow_whole");
  adjustRoom(asm, OUTER_SIZE, 0);
  asm.jumpIf(0, "!=", 0, "tx_failed");
  asm.jump("write_headers");
  asm.label("grow_whole");
  const flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
  adjustRoom(asm, OUTER_SIZE, flags | BPF_F_ADJ_ROOM_FIXED_GSO);
  asm.jumpIf(0, "!=", 0, "tx_failed");
  asm.label("write_headers");
  storeBytes(asm, linkHeaderSize, OUTER_SIZE);
  asm.jumpIf(0, "!=", 0, "drop");
}

/** Out by the route's link, the neighbour found by the kernel. */
function send(asm: Assembler, linkHeaderSize: number): void {
  asm.label("send");
  countPacket(asm, {
    route: ROUTE_AT,
    slotAt: ROUTE.SLOT,
    bytes: LENGTH,
    packetsAt: PEER_COUNTER.TX_PACKETS,
    label: "counted",
  });
  if (linkHeaderSize === 0) {
    asm.copy(1, CONTEXT);
    asm.set(2, ETHERNET_SIZE);
    asm.set(3, 0);
    asm.call(HELPER.SKB_CHANGE_HEAD);
    asm.jumpIf(0, "!=", 0, "drop");
  }
  asm.load(4, 1, { base: ROUTE_AT, offset: ROUTE.LINK });
  asm.set(2, 0);
  asm.set(3, 0);
  asm.set(4, 0);
  asm.call(HELPER.REDIRECT_NEIGH);
  asm.exit();
}

function adjustRoom(asm: Assembler, bytes: number, flags: number): void {
  asm.copy(1, CONTEXT);
  asm.set(2, bytes);
  asm.set(3, BPF_ADJ_ROOM_MAC);
  asm.set(4, flags);
  asm.call(HELPER.SKB_ADJUST_ROOM);
}

/** Makes the packet LENGTH and `more` bytes long. */
function changeTail(asm: Assembler, more: number): void {
  asm.copy(1, CONTEXT);
  asm.copy(2, LENGTH);
  asm.alu("add", 2, more);
  asm.set(3, 0);
  asm.call(HELPER.SKB_CHANGE_TAIL);
}

function storeBytes(asm: Assembler, at: number, size: number): void {
  asm.copy(1, CONTEXT);
  asm.set(2, at);
  asm.address(3, OUTER);
  asm.set(4, size);
  asm.set(5, 0);
  asm.call(HELPER.SKB_STORE_BYTES);
}

/** The bytes of a number in network order, read as one word of this machine. */
function networkWord(address: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, address);
  return view.getUint32(0, true);
}
