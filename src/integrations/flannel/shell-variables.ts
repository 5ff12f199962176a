/**
 * Files of `NAME=value` lines as a shell would source them: `subnet.env`, /etc/default/flanneld.
 *
 * Only plain assignments, as programs write them: no expansions, no continued lines. What else is
 * in the file is left out. Pure.
 *
 * @module
 */

/** Longest text that is looked at, characters. Such files have a few lines. */
const TEXT_LENGTH_MAX = 16 * 1024;
/** The quoted value, single or double, or a plain word. What a shell would expand is neither. */
const ASSIGNMENT =
  /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(?:"([^"$`\\]*)"|'([^']*)'|([^\s"'$`\\;&|<>()#]*))\s*(?:#.*)?$/;

/** Variables of a file that anybody may have written. The last assignment of a name counts. */
export function parseShellVariables(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const line of text.slice(0, TEXT_LENGTH_MAX).split("\n")) {
    const match = ASSIGNMENT.exec(line);
    if (match === null) continue;
    const [, name = "", double, single, plain] = match;
    values.set(name, double ?? single ?? plain ?? "");
  }
  return values;
}
