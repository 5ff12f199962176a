/**
 * Network namespaces of the calling thread: make a new one, go back to an old one.
 *
 * Sockets and /proc/sys/net belong to the namespace in which they are opened, for ever; so a
 * thread can open in one and go on in another. A namespace without a name ends with its last
 * user, which leaves nothing behind even after a crash. See network_namespaces(7).
 *
 * @module
 */
import { closeSync, openSync } from "node:fs";
import { assert } from "../../base/assert.ts";
import { Descriptor } from "./descriptor.ts";
import { checkCall } from "./errno.ts";
import { libc, syscallNumbers } from "./libc.ts";

const CLONE_NEWNET = 0x4000_0000;
const OWN_NAMESPACE = "/proc/thread-self/ns/net";

/** unshare(2) by its number; asm/unistd.h of each architecture. */
const UNSHARE: Readonly<Record<string, number>> = { x64: 272, arm64: 97 };

/** A place in a namespace of one's own; `leave` (or the end of `using`) goes back. */
export interface NetworkStay extends Disposable {
  leave(): void;
}

/** Moves the calling thread into a new, empty network namespace. Needs CAP_SYS_ADMIN. */
export function enterNewNetwork(): NetworkStay {
  const home = new Descriptor(openSync(OWN_NAMESPACE, "r"));
  const number = UNSHARE[process.arch];
  assert(number !== undefined, "only x64 and arm64 are built for");
  const made = libc().syscall(number, CLONE_NEWNET, 0, 0, 0, 0, 0);
  try {
    checkCall(made, "make", "a network namespace");
  } catch (error) {
    home.close();
    throw error;
  }
  return stay(home);
}

/** Moves the calling thread into the namespace behind `path`, such as /run/netns/NAME. */
export function enterNetwork(path: string): NetworkStay {
  const home = new Descriptor(openSync(OWN_NAMESPACE, "r"));
  try {
    const target = openSync(path, "r");
    try {
      setNamespace(target);
    } finally {
      closeSync(target);
    }
  } catch (error) {
    home.close();
    throw error;
  }
  return stay(home);
}

function stay(home: Descriptor): NetworkStay {
  let away = true;
  const leave = () => {
    if (away) setNamespace(home.fd);
    away = false;
    home.close();
  };
  return { leave, [Symbol.dispose]: leave };
}

function setNamespace(fd: number): void {
  const result = libc().syscall(syscallNumbers().setns, fd, CLONE_NEWNET, 0, 0, 0, 0);
  checkCall(result, "enter", "a network namespace");
}
