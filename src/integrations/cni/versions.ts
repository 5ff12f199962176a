/**
 * Versions of the CNI specification: which there are, what each knows, which one to speak.
 *
 * Pure.
 *
 * @module
 */
import { isRecord, parseRecord } from "../../base/json-record.ts";

/** All that this plugin speaks, oldest first. */
export const CNI_VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

export type CniVersion = (typeof CNI_VERSIONS)[number];

export const LATEST_VERSION: CniVersion = "1.1.0";
/** Of a config that does not say. The specification's word; this plugin does not speak it. */
export const UNSAID_VERSION = "0.1.0";

/** The version that `text` names, if this plugin speaks it. */
export function parseVersion(text: unknown): CniVersion | undefined {
  return CNI_VERSIONS.find((version) => version === text);
}

/** The first version that knows a command. */
export const COMMAND_SINCE = {
  ADD: "0.3.0",
  DEL: "0.3.0",
  VERSION: "0.3.0",
  CHECK: "0.4.0",
  STATUS: "1.1.0",
  GC: "1.1.0",
} as const satisfies Readonly<Record<string, CniVersion>>;

/** Whether `version` is `other` or came after it. */
export function isAtLeast(version: CniVersion, other: CniVersion): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(other);
}

/** What `VERSION` answers. */
export function formatVersions(spoken: CniVersion = LATEST_VERSION): string {
  return JSON.stringify({ cniVersion: spoken, supportedVersions: CNI_VERSIONS });
}

/** The versions of ours in another plugin's answer to `VERSION`; none when it is no answer. */
export function parseVersions(answer: string): readonly CniVersion[] {
  const listed = parseRecord(answer)?.["supportedVersions"];
  if (!Array.isArray(listed)) return [];
  return CNI_VERSIONS.filter((version) => listed.includes(version));
}

/** The newest version up to `wanted` that all of `speakers` speak. */
export function commonVersion(
  wanted: CniVersion,
  speakers: readonly (readonly CniVersion[])[],
): CniVersion | undefined {
  return CNI_VERSIONS.filter((version) => isAtLeast(wanted, version)).findLast((version) =>
    speakers.every((spoken) => spoken.includes(version)),
  );
}

/**
 * `object`, a config or a result, in the words of `version`. From 1.0.0 on versions only add, so
 * that between those the label is all there is to change; below, nothing else is ever asked for.
 */
export function relabel<T extends Readonly<Record<string, unknown>>>(
  object: T,
  version: CniVersion,
): T & { readonly cniVersion: CniVersion } {
  const previous = object["prevResult"];
  const inner = isRecord(previous) ? { prevResult: { ...previous, cniVersion: version } } : {};
  return { ...object, ...inner, cniVersion: version };
}
