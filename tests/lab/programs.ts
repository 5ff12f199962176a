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

/** What tests with real container runtimes need beside those. */
export const RUNTIME_PROGRAMS: Readonly<Record<string, string>> = {
  dockerd: "docker.io",
  docker: "docker.io",
  containerd: "containerd",
  runc: "runc",
  iptables: "iptables",
  podman: "podman",
  conmon: "conmon",
  busybox: "busybox-static",
  "/usr/lib/cni/bridge": "containernetworking-plugins",
};

/** What tests against flannel's own store need. */
export const ETCD_PROGRAMS: Readonly<Record<string, string>> = {
  etcd: "etcd-server",
  etcdctl: "etcd-client",
  openssl: "openssl",
};

/** What checks of the installer and of the unit need. */
const CHECK_PROGRAMS: Readonly<Record<string, string>> = {
  shellcheck: "shellcheck",
  "systemd-analyze": "systemd",
};

/** What makes packages (scripts/package). */
export const PACKAGE_PROGRAMS: Readonly<Record<string, string>> = {
  "dpkg-deb": "dpkg",
  rpmbuild: "rpm",
};

/** All that any test needs. */
export const TEST_PROGRAMS = {
  ...LAB_PROGRAMS,
  ...RUNTIME_PROGRAMS,
  ...ETCD_PROGRAMS,
  ...CHECK_PROGRAMS,
  ...PACKAGE_PROGRAMS,
};
