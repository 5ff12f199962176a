/**
 * The links' part of the difference.
 *
 * A TUN link is made by whoever reads its packets; here it is only set up. A VXLAN link is made
 * here. What it encapsulates with cannot change, so one that does it otherwise is deleted and made
 * anew, and so is a link of ours under another name that holds its VNI and port. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { ActualLink, LinkChanges, Operation, VxlanSettings } from "../../host/kernel-ports.ts";
import type { DesiredLink, DesiredVxlan } from "../backends/desired-state.ts";
import { isOwnedLink, type Ownership } from "../backends/ownership.ts";
import { type LinksByName, type Obstacle, refer } from "./parts.ts";

interface LinkContext {
  readonly byName: LinksByName;
  readonly ownership: Ownership;
  readonly obstacles: Obstacle[];
}

/** What makes and sets up the desired links; what cannot be is added to the obstacles. */
export function diffLinks(
  desired: readonly DesiredLink[],
  actual: readonly ActualLink[],
  { byName, obstacles, ownership }: LinkContext,
): Operation[] {
  const operations: Operation[] = [];
  const refuse = (object: string, reason: string) =>
    obstacles.push({ operation: "set up link", object, reason });
  for (const wanted of desired) {
    const found = byName.get(wanted.name);
    if (found !== undefined && found.kind !== wanted.kind) {
      const kind = found.kind ?? "plain";
      refuse(wanted.name, `it is a ${kind} link of somebody else's, not a ${wanted.kind}`);
      continue;
    }
    if (wanted.kind === "vxlan") {
      const underlay = byName.get(wanted.underlay);
      if (underlay === undefined) {
        refuse(wanted.name, `there is no link ${wanted.underlay}`);
        continue;
      }
      const settings = settingsOf(wanted, underlay);
      const rival = actual.find(
        (link) => isSameTunnel(link, settings) && !isOwnedLink(link, ownership),
      );
      if (rival !== undefined) {
        refuse(wanted.name, `link ${rival.name} has the same VNI and port; delete it`);
        continue;
      }
      if (found === undefined || !sameSettings(found.vxlan, settings)) {
        operations.push(...makeVxlan(wanted, settings, { actual, ownership, found }));
        continue;
      }
    }
    if (found === undefined) {
      refuse(wanted.name, "there is no such link yet");
      continue;
    }
    const changes = linkChanges(wanted, found);
    if (Object.keys(changes).length > 0) {
      operations.push({ kind: "set_link", link: refer(found), changes });
    }
  }
  return operations;
}

/** The links that are ours and wanted no more. */
export function staleLinks(
  desired: readonly DesiredLink[],
  links: readonly ActualLink[],
  ownership: Ownership,
): Extract<Operation, { kind: "delete_link" }>[] {
  const names = new Set(desired.map(({ name }) => name));
  return links
    .filter((link) => isOwnedLink(link, ownership) && !names.has(link.name))
    .map((link) => ({ kind: "delete_link", link: refer(link) }));
}

/** Before the link can be made, whatever of ours has its name, or its VNI and port, must go. */
function makeVxlan(
  { kind, mac, mtu, name }: DesiredVxlan,
  vxlan: VxlanSettings,
  around: {
    readonly actual: readonly ActualLink[];
    readonly ownership: Ownership;
    readonly found: ActualLink | undefined;
  },
): Operation[] {
  const inTheWay = around.actual.filter(
    (link) =>
      link === around.found || (isOwnedLink(link, around.ownership) && isSameTunnel(link, vxlan)),
  );
  return [
    ...inTheWay.map((link): Operation => ({ kind: "delete_link", link: refer(link) })),
    { kind: "add_link", link: { kind, name, mac, mtu, vxlan } },
  ];
}

/** Whether the kernel has no room for another link with `settings`. */
function isSameTunnel(link: ActualLink, { port, vni }: VxlanSettings): boolean {
  return link.vxlan?.vni === vni && link.vxlan.port === port;
}

function settingsOf(
  { gbp, learning, local, port, vni }: DesiredVxlan,
  underlay: ActualLink,
): VxlanSettings {
  assert(vni > 0 && vni < 2 ** 24, "a VNI has 24 bits");
  return { vni, port, underlay: underlay.index, local, learning, gbp };
}

function sameSettings(a: VxlanSettings | undefined, b: VxlanSettings): boolean {
  return (
    a?.vni === b.vni &&
    a.port === b.port &&
    a.underlay === b.underlay &&
    a.local === b.local &&
    a.learning === b.learning &&
    a.gbp === b.gbp
  );
}

function linkChanges(wanted: DesiredLink, actual: ActualLink): LinkChanges {
  const { mtu } = wanted;
  const common = {
    ...(!actual.up && { up: true }),
    ...(actual.mtu !== mtu && { mtu }),
  };
  if (wanted.kind === "vxlan") {
    const { alias, mac } = wanted;
    return {
      ...common,
      ...(actual.mac !== mac && { mac }),
      ...(actual.alias !== alias && { alias }),
    };
  }
  const { gsoMaxSize, txQueueLength } = wanted;
  return {
    ...common,
    ...(actual.txQueueLength !== txQueueLength && { txQueueLength }),
    // A kernel that does not say how large it is cannot be compared, nor set.
    ...(actual.gsoMaxSize !== undefined && actual.gsoMaxSize !== gsoMaxSize && { gsoMaxSize }),
  };
}
