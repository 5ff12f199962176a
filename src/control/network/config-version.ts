/**
 * Which cluster version a network config needs: older members would refuse what newer ones store,
 * and so end with another state. Pure.
 *
 * @module
 */
import type { Command } from "../kv/types.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "./json.ts";

/** The version (kv/cluster-version.ts) that brought a backend; who is not here is of the first. */
const BACKEND_VERSIONS: ReadonlyMap<string, number> = new Map([
  ["auto", 3],
  ["extension", 4],
]);

/**
 * The part of a command that says so, for the config as its author wrote it, which need not be
 * right: keys are found in whatever case, as its reader does.
 */
export function configVersion(config: JsonObject): Pick<Command, "needs"> {
  const types = valuesOf(config, "backend").flatMap((backend) => valuesOf(backend, "type"));
  const needs = types.flatMap((type) => {
    return (typeof type === "string" && BACKEND_VERSIONS.get(type.toLowerCase())) || [];
  });
  return needs.length === 0 ? {} : { needs: Math.max(...needs) };
}

function valuesOf(value: JsonValue, name: string): readonly JsonValue[] {
  if (!isJsonObject(value)) return [];
  const found = Object.entries(value).filter(([key]) => key.toLowerCase() === name);
  return found.map(([, each]) => each);
}
