/**
 * The path of the Unix socket before it is bound: free, left over, or in use.
 *
 * A socket file outlives a killed process, and binding over it fails; removing it blindly would
 * take the socket from a live agent. So the path is asked first: whoever accepts is alive.
 *
 * Two agents that start at the same moment are told apart by the lock of the data directory, which
 * an agent holds before it comes here.
 *
 * @module
 */
import { HostError } from "../base/host-error.ts";

/** `sun_path` has 108 bytes, the last of them 0 (include/uapi/linux/un.h). */
export const SOCKET_PATH_BYTES_MAX = 107;

/**
 * Removes what a dead agent left at `path`. Throws `HostError` when a live process answers there,
 * or when something that is not a socket is in the way.
 */
export async function clearSocketPath(path: string): Promise<void> {
  const failed = (reason: string, next: string, errno?: string, cause?: unknown) =>
    new HostError({
      operation: "open the admin socket",
      object: path,
      reason,
      next,
      cause,
      ...(errno === undefined ? {} : { errno }),
    });
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    const reason = `the path is longer than ${SOCKET_PATH_BYTES_MAX} bytes`;
    throw failed(reason, "choose a shorter --run-dir", "ENAMETOOLONG");
  }
  const file = Bun.file(path);
  const answer = await knock(path);
  switch (answer) {
    case "ENOENT":
      return;
    case "answered":
      throw failed(
        "another agent answers there",
        "stop it first, or choose another --run-dir",
        "EADDRINUSE",
      );
    case "ECONNREFUSED":
      if (!(await file.stat()).isSocket()) {
        throw failed("a file that is not a socket is there", "remove it", "EADDRINUSE");
      }
      await file.unlink();
      return;
    default:
      throw failed("the path is not usable", "check --run-dir and its permissions", answer);
  }
}

/** What a connection to `path` meets: "answered", or an errno name. */
async function knock(path: string): Promise<string> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => undefined } });
    socket.terminate();
    return "answered";
  } catch (error) {
    return errnoOf(error) ?? "EIO";
  }
}

/** The errno name that the runtime put on `error`, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}
