/**
 * The alloc backend: a node has a lease and the files about it, and that is all. Who carries its
 * packets is somebody else's business. Pure.
 *
 * @module
 */
import { type Backend, EMPTY_PLAN } from "./backend.ts";

export const alloc: Backend = {
  kind: "alloc",
  mtu: ({ host }) => host.underlayMtu,
  publish: () => ({ kind: "other", type: "alloc", data: null }),
  plan: () => EMPTY_PLAN,
};
