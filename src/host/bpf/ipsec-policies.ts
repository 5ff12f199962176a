/**
 * Whether this machine has IPsec policies, which the fast path would go around.
 *
 * Source: include/uapi/linux/xfrm.h, XFRM_MSG_GETSPDINFO: how many policies there are in each
 * direction, in the network namespace of the calling thread.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import { decodeAttributes, decodeU32 } from "../netlink/attribute.ts";
import { createExchange } from "../netlink/exchange.ts";
import { beginRequest, finishRequest } from "../netlink/message.ts";
import { type NetlinkSocket, openNetlinkSocket } from "../sys/netlink-socket.ts";

const XFRM_MSG_GETSPDINFO = 0x25;
const XFRMA_SPD_INFO = 1;
/** The flags, which say nothing here. */
const FLAGS_SIZE = 4;
/** struct xfrmu_spdinfo: policies in, out, forwarded, then those of single sockets. */
const COUNTERS_LOOKED_AT = 3;
const NO_IPSEC: ReadonlySet<string> = new Set(["EPROTONOSUPPORT", "EAFNOSUPPORT"]);

/** How many policies there are; 0 where the kernel knows no IPsec. Throws `HostError`. */
export function countIpsecPolicies(): number {
  const socket = openSocket();
  if (socket === undefined) return 0;
  const exchange = createExchange(socket);
  try {
    return exchange.query(
      { operation: "count", object: "IPsec policies" },
      (out, sequence) => {
        const end = beginRequest(out, { type: XFRM_MSG_GETSPDINFO, flags: 0, sequence });
        out.setUint32(end, 0, true);
        return finishRequest(out, end + FLAGS_SIZE);
      },
      decodePolicyCount,
    );
  } finally {
    exchange.close();
  }
}

function openSocket(): NetlinkSocket | undefined {
  try {
    return openNetlinkSocket("xfrm");
  } catch (error) {
    if (error instanceof HostError && NO_IPSEC.has(error.errno ?? "")) return undefined;
    throw error;
  }
}

function decodePolicyCount(body: Uint8Array): number | undefined {
  const info = decodeAttributes(body.subarray(FLAGS_SIZE))?.get(XFRMA_SPD_INFO);
  if (info === undefined) return undefined;
  let count = 0;
  for (let at = 0; at < COUNTERS_LOOKED_AT; at++) count += decodeU32(info.subarray(4 * at)) ?? 0;
  return count;
}
