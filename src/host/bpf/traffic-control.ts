/**
 * BPF programs at the ingress and egress of links: rtnetlink's traffic control messages.
 *
 *          0       1       2       3       4       5       6       7
 *         +-------+-------+-------+-------+-------+-------+-------+-------+
 *      16 | family| 0             | 0     | tcm_ifindex                   |  tcmsg
 *      24 | tcm_handle                    | tcm_parent                    |
 *      32 | tcm_info: priority, protocol  | attributes (TCA_*)
 *
 * A filter of kind "bpf" below the qdisc "clsact" holds its program, for as long as the link
 * exists, whoever attached it. So packets go on while the agent restarts, and the next agent puts
 * its program in the place of the old one in one step. Links of the newer kind (tcx) end with the
 * process that made them, unless they are pinned in a file system that not every machine mounts.
 * Layout: include/uapi/linux/{rtnetlink,pkt_cls,pkt_sched}.h.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import type { LinkIndex } from "../../base/ids.ts";
import { decodeAttributes, decodeText, putNested, putText, putU32 } from "../netlink/attribute.ts";
import type { Exchange } from "../netlink/exchange.ts";
import {
  beginRequest,
  finishRequest,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
} from "../netlink/message.ts";

const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_NEWTFILTER = 44;
const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;

const TCMSG_SIZE = 20;
const TC_H_CLSACT = 0xffff_fff1;
const CLSACT_HANDLE = 0xffff_0000;
const PARENT = { ingress: 0xffff_fff2, egress: 0xffff_fff3 } as const;

const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
/** The program's result is the verdict. */
const TCA_BPF_FLAG_ACT_DIRECT = 1;

/** ETH_P_IP in network order, as it lies in the low half of tcm_info. */
const PROTOCOL_IP = 0x0008;
/** Ours among the filters of a link: lower ones are asked first. An implementation choice. */
const FILTER_PRIORITY = 8285;
const FILTER_HANDLE = 1;

/** Which packets of a link: those that arrive or those that leave. */
export type Direction = keyof typeof PARENT;

export interface Hook {
  readonly link: LinkIndex;
  readonly direction: Direction;
}

/** A filter that exists. */
export interface ActualFilter {
  readonly priority: number;
  readonly kind: string;
  /** The program's name as its owner gave it, for kind "bpf". */
  readonly name: string | undefined;
}

/** Puts `program` at `hook`; one of ours that is there is replaced in one step. */
export function attachProgram(
  exchange: Exchange,
  hook: Hook,
  program: { readonly fd: number; readonly name: string },
): void {
  const object = describeHook(hook);
  ensureClsact(exchange, hook.link);
  exchange.request({ operation: "attach a BPF program to", object }, (out, sequence) => {
    const flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    let end = beginRequest(out, { type: RTM_NEWTFILTER, flags, sequence });
    end = putTc(out, end, ourFilter(hook));
    end = putText(out, end, TCA_KIND, "bpf");
    const body = (start: number) => {
      let at = putU32(out, start, TCA_BPF_FD, program.fd);
      at = putText(out, at, TCA_BPF_NAME, program.name);
      return putU32(out, at, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    };
    return finishRequest(out, putNested(out, end, { type: TCA_OPTIONS, body }));
  });
}

/** Takes our program from `hook`, if it is there, and the qdisc when nothing else uses it. */
export function detachProgram(exchange: Exchange, hook: Hook): void {
  const purpose = { operation: "detach the BPF program from", object: describeHook(hook) };
  tolerate(["ENOENT", "EINVAL", "ENODEV"], () =>
    exchange.request(purpose, (out, sequence) => {
      const end = beginRequest(out, { type: RTM_DELTFILTER, flags: NLM_F_ACK, sequence });
      return finishRequest(out, putTc(out, end, ourFilter(hook)));
    }),
  );
  const directions = Object.keys(PARENT).filter((key) => key === "ingress" || key === "egress");
  const used = directions.some(
    (direction) => listFilters(exchange, { link: hook.link, direction }).length > 0,
  );
  if (!used) removeClsact(exchange, hook.link);
}

/** Every filter at `hook`, whoever's; none when the link or the qdisc is not there. */
export function listFilters(exchange: Exchange, hook: Hook): readonly ActualFilter[] {
  const purpose = { operation: "list filters of", object: describeHook(hook) };
  const filters: ActualFilter[] = [];
  tolerate(["ENOENT", "EINVAL", "ENODEV"], () => {
    const found = exchange.dump(
      purpose,
      (out, sequence) => {
        const end = beginRequest(out, { type: RTM_GETTFILTER, flags: NLM_F_DUMP, sequence });
        const tc = { link: hook.link, handle: 0, parent: PARENT[hook.direction], info: 0 };
        return finishRequest(out, putTc(out, end, tc));
      },
      decodeFilter,
    );
    filters.push(...found);
  });
  return filters;
}

/** Whether a filter is the one that `attachProgram` puts in place. */
export function isOurFilter({ kind, priority }: ActualFilter): boolean {
  return kind === "bpf" && priority === FILTER_PRIORITY;
}

function ensureClsact(exchange: Exchange, link: LinkIndex): void {
  const purpose = { operation: "make a clsact qdisc on", object: `link ${link}` };
  tolerate(["EEXIST"], () =>
    exchange.request(purpose, (out, sequence) => {
      const flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
      let end = beginRequest(out, { type: RTM_NEWQDISC, flags, sequence });
      end = putTc(out, end, { link, handle: CLSACT_HANDLE, parent: TC_H_CLSACT, info: 0 });
      return finishRequest(out, putText(out, end, TCA_KIND, "clsact"));
    }),
  );
}

function removeClsact(exchange: Exchange, link: LinkIndex): void {
  const purpose = { operation: "remove the clsact qdisc of", object: `link ${link}` };
  tolerate(["ENOENT", "EINVAL", "ENODEV"], () =>
    exchange.request(purpose, (out, sequence) => {
      const end = beginRequest(out, { type: RTM_DELQDISC, flags: NLM_F_ACK, sequence });
      const tc = { link, handle: CLSACT_HANDLE, parent: TC_H_CLSACT, info: 0 };
      return finishRequest(out, putTc(out, end, tc));
    }),
  );
}

function ourFilter({ link, direction }: Hook): TcHeader {
  const info = FILTER_PRIORITY * 0x1_0000 + PROTOCOL_IP;
  return { link, handle: FILTER_HANDLE, parent: PARENT[direction], info };
}

interface TcHeader {
  readonly link: LinkIndex;
  readonly handle: number;
  readonly parent: number;
  readonly info: number;
}

function putTc(out: DataView, offset: number, { link, handle, parent, info }: TcHeader): number {
  out.setUint32(offset, 0, true);
  out.setInt32(offset + 4, link, true);
  out.setUint32(offset + 8, handle, true);
  out.setUint32(offset + 12, parent, true);
  out.setUint32(offset + 16, info, true);
  return offset + TCMSG_SIZE;
}

function decodeFilter(body: Uint8Array): ActualFilter | undefined {
  if (body.length < TCMSG_SIZE) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const attributes = decodeAttributes(body.subarray(TCMSG_SIZE));
  const kind = decodeText(attributes?.get(TCA_KIND));
  // The first message of each priority stands for the chain and has no handle.
  if (kind === undefined || view.getUint32(8, true) === 0) return undefined;
  const options = decodeAttributes(attributes?.get(TCA_OPTIONS) ?? new Uint8Array());
  return {
    priority: view.getUint32(16, true) >>> 16,
    kind,
    name: decodeText(options?.get(TCA_BPF_NAME)),
  };
}

function tolerate(errnos: readonly string[], action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof HostError) || !errnos.includes(error.errno ?? "")) throw error;
  }
}

function describeHook({ link, direction }: Hook): string {
  return `the ${direction} of link ${link}`;
}
