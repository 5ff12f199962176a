/**
 * Which cluster version a network config needs: older members would refuse what newer ones store,
 * and so end with another state. Pure.
 *
 * @module
 */
import type { Command } from "../kv/types.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "./json.ts";

/** The version (kv/cluster-version.ts) that brought the backend "auto". */
const AUTO_VERSION = 3;

/**
 * The part of a command that says so, for the config as its author wrote it, which need not be
 * right: keys are found in whatever case, as its reader does.
 */
export function configVersion(config: JsonObject): Pick<Command, "needs"> {
  const isAuto = valuesOf(config, "backend").some((backend) =>
    valuesOf(backend, "type").some(
      (type) => typeof type === "string" && type.toLowerCase() === "auto",
    ),
  );
  return isAuto ? { needs: AUTO_VERSION } : {};
}

function valuesOf(value: JsonValue, name: string): readonly JsonValue[] {
  if (!isJsonObject(value)) return [];
  const found = Object.entries(value).filter(([key]) => key.toLowerCase() === name);
  return found.map(([, each]) => each);
}
