/**
 * The program of this process, started anew in its place: execve(2).
 *
 * Process id, working directory, open standard streams and limits stay; threads, memory and every
 * descriptor that is closed on exec go. Some settings of a run time are only read when it starts,
 * from the environment: this is how a program that knows better gives them to itself.
 *
 * @module
 */
import { readFileSync, readlinkSync } from "node:fs";
import { libc } from "./libc.ts";
import { cString, type KernelMemory, kernelBytes, putAddress } from "./memory.ts";

/** asm/unistd.h of each architecture. */
const EXECVE: Readonly<Record<string, number>> = { x64: 59, arm64: 221 };
const POINTER_SIZE = 8;
/** As proc_pid_exe(5) says it of a file that was replaced since; the link itself still works. */
const DELETED = " (deleted)";

/**
 * Starts this program anew with the same arguments and `environment`. Returns only when that could
 * not be done: then everything is as before.
 */
export function restartProgram(environment: Readonly<Record<string, string | undefined>>): void {
  const number = EXECVE[process.arch];
  const self = whoAmI();
  if (number === undefined || self === undefined) return;
  const path = cString(self.path);
  const args = pointerArray(self.args);
  const pairs = Object.entries(environment).filter(([, value]) => value !== undefined);
  const variables = pointerArray(pairs.map(([name, value]) => `${name}=${value}`));
  libc().syscall(number, path.address, args.address, variables.address, 0, 0, 0);
}

/** Path and arguments of this process; undefined where there is no /proc. */
function whoAmI(): { readonly path: string; readonly args: readonly string[] } | undefined {
  try {
    const link = readlinkSync("/proc/self/exe");
    const args = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(0, -1);
    return { path: link.endsWith(DELETED) ? "/proc/self/exe" : link, args };
  } catch {
    return undefined;
  }
}

interface PointerArray {
  readonly address: number;
  /** Must stay referenced for as long as the address is used. */
  readonly memory: readonly KernelMemory[];
}

/** The strings as C has them: an array of pointers with a null pointer at its end. */
function pointerArray(texts: readonly string[]): PointerArray {
  const strings = texts.map(cString);
  const pointers = kernelBytes((strings.length + 1) * POINTER_SIZE);
  strings.forEach(({ address }, i) => {
    putAddress(pointers.view, i * POINTER_SIZE, address);
  });
  return { address: pointers.address, memory: [pointers, ...strings] };
}
