/**
 * Whether this process is a CNI plugin: asked before anything is loaded.
 *
 * @module
 */

/** Whether a process with these arguments and variables was started by a container runtime. */
export function isPluginCall(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  return argv.length === 0 && (env["CNI_COMMAND"] ?? "") !== "";
}
