/**
 * An etcd on one host of the lab, reached by TLS, with users: the store of a flannel.
 *
 * @module
 */
import { join } from "node:path";
import type { Host } from "./host.ts";
import type { Finished } from "./run.ts";
import { waitFor } from "./wait.ts";

const PORT = 2379;

export interface Etcd {
  readonly url: string;
  readonly cafile: string;
  readonly password: string;
  /** Runs etcdctl as root of the etcd. */
  ctl(words: readonly string[]): Promise<Finished>;
}

/** Starts one on `host`, asks for a password from then on, and lets root in. */
export async function startEtcd(host: Host): Promise<Etcd> {
  const path = (name: string) => join(host.folder, name);
  const url = `https://${host.address}:${PORT}`;
  await host.mustRun([
    ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    ...["-nodes", "-days", "2", "-subj", "/O=lab", "-keyout", path("etcd.key")],
    ...["-addext", `subjectAltName=IP:${host.address}`, "-out", path("etcd.pem")],
  ]);
  const etcd = host.start([
    ...["etcd", "--name", "lab", "--data-dir", path("etcd"), "--log-level", "error"],
    ...["--listen-client-urls", url, "--advertise-client-urls", url],
    ...["--listen-peer-urls", "http://127.0.0.1:2380"],
    ...["--cert-file", path("etcd.pem"), "--key-file", path("etcd.key"), "--unsafe-no-fsync"],
  ]);
  const password = "lab secret";
  const run = (words: readonly string[], user: readonly string[]) =>
    host.run(["etcdctl", "--endpoints", url, "--cacert", path("etcd.pem"), ...user, ...words], {
      env: { ETCDCTL_API: "3" },
    });
  const bare = async (...words: string[]) => {
    const { code, stderr } = await run(words, []);
    if (code !== 0) throw new Error(`etcdctl ${words[0]} ended with code ${code}: ${stderr}`);
    return true;
  };
  await waitFor(() => bare("endpoint", "health"), {
    describe: "etcd to answer",
    details: () => etcd.tail(5),
  });
  await bare("user", "add", `root:${password}`);
  await bare("auth", "enable");
  const user = ["--user", `root:${password}`];
  return { url, password, cafile: path("etcd.pem"), ctl: (words) => run(words, user) };
}
