/**
 * Commands that run a program in surroundings that differ from the machine's, for `AgentOptions`.
 *
 * @module
 */

/** Runs the program with its own view of the mounts, after `script` (POSIX sh) changed them. */
export function withMounts(script: string): readonly string[] {
  const words = ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c"];
  return [...words, `${script}\nexec "$@"`, "sh"];
}
