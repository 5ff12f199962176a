import { expect, test } from "bun:test";
import { parseFlanneldOptions } from "./flanneld-options.ts";

const FEDORA = `# Flanneld configuration options
FLANNEL_ETCD_ENDPOINTS="http://192.0.2.1:2379,http://192.0.2.2:2379"
FLANNEL_ETCD_PREFIX="/atomic.io/network"
FLANNEL_OPTIONS="-iface=eth1 --iface eth2 --ip-masq -v=4"
`;
const VARIABLES = `FLANNELD_ETCD_ENDPOINTS=https://192.0.2.1:2379
FLANNELD_ETCD_CAFILE=/etc/ca.pem
FLANNELD_ETCD_USERNAME=flannel
FLANNELD_ETCD_PASSWORD='s3cret'
FLANNELD_PUBLIC_IP=192.0.2.7
FLANNELD_SUBNET_LEASE_RENEW_MARGIN=60
`;

test("parseFlanneldOptions: Fedora's file, with flags in one variable", () => {
  const { carried, etcd, ignored } = parseFlanneldOptions(FEDORA);
  expect(etcd).toMatchObject({
    endpoints: ["http://192.0.2.1:2379", "http://192.0.2.2:2379"],
    prefix: "/atomic.io/network",
    username: undefined,
  });
  expect(carried).toEqual(["OVERLAY_IFACE=eth1,eth2", "OVERLAY_IP_MASQ=true"]);
  expect(ignored).toEqual(["v"]);
});

test("parseFlanneldOptions: a variable for each flag", () => {
  const { carried, etcd, ignored } = parseFlanneldOptions(VARIABLES);
  expect(etcd).toEqual({
    endpoints: ["https://192.0.2.1:2379"],
    prefix: undefined,
    ...{ cafile: "/etc/ca.pem", certfile: undefined, keyfile: undefined },
    ...{ username: "flannel", password: "s3cret" },
  });
  // flannel does not masquerade unless told; overlay does.
  expect(carried).toEqual(["OVERLAY_PUBLIC_IP=192.0.2.7", "OVERLAY_IP_MASQ=false"]);
  expect(ignored).toEqual(["subnet-lease-renew-margin"]);
});

test("parseFlanneldOptions: a flag wins over its variable", () => {
  const text = 'FLANNELD_IFACE=eth0\nFLANNEL_OPTIONS="--iface=eth1"\n';
  expect(parseFlanneldOptions(text).carried[0]).toBe("OVERLAY_IFACE=eth1");
});
