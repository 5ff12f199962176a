/**
 * The programs that the lab runs, and where Debian keeps them.
 *
 * @module
 */

/** Programs of the lab, and the Debian packages that have them. */
export const LAB_PROGRAMS: Readonly<Record<string, string>> = {
  ip: "iproute2",
  tc: "iproute2",
  ping: "iputils-ping",
  tcpdump: "tcpdump",
  nft: "nftables",
  ethtool: "ethtool",
  iperf3: "iperf3",
  curl: "curl",
  sysctl: "procps",
  nsenter: "util-linux",
  unshare: "util-linux",
  setpriv: "util-linux",
};
