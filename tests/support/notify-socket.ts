/**
 * The manager's end of systemd's notification socket (sd_notify(3)), for tests: takes texts and the
 * descriptors that come with them.
 *
 * @module
 */
import { Descriptor } from "../../src/host/sys/descriptor.ts";
import { checkCall } from "../../src/host/sys/errno.ts";
import { libc } from "../../src/host/sys/libc.ts";
import { kernelBytes, putAddress } from "../../src/host/sys/memory.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const TEXT_SIZE_MAX = 4096;
/** struct msghdr, and room for one descriptor behind a struct cmsghdr. */
const MSGHDR_SIZE = 56;
const CONTROL_SIZE = 64;
const CONTROL_FD_AT = 16;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** A notification; who takes it closes `fd`. */
export interface Notification {
  readonly text: string;
  readonly fd: number | undefined;
}

/** A bound notification socket that never blocks. */
export class NotifySocket {
  readonly #socket: Descriptor;

  /** At a path that does not exist yet, or "@" and a name in the kernel. */
  constructor(name: string) {
    const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    this.#socket = new Descriptor(checkCall(libc().socket(AF_UNIX, type, 0), "open", name));
    const address = kernelBytes(110);
    address.view.setUint16(0, AF_UNIX, true);
    address.bytes.set(new TextEncoder().encode(name), 2);
    if (name.startsWith("@")) address.bytes[2] = 0;
    checkCall(libc().bind(this.#socket.fd, address.address, 2 + name.length), "bind", name);
  }

  /** All that has come. */
  takeAll(): Notification[] {
    const found: Notification[] = [];
    for (let one = this.#take(); one !== undefined; one = this.#take()) found.push(one);
    return found;
  }

  close(): void {
    this.#socket.close();
  }

  #take(): Notification | undefined {
    const [body, control] = [kernelBytes(TEXT_SIZE_MAX), kernelBytes(CONTROL_SIZE)];
    const [vector, message] = [kernelBytes(16), kernelBytes(MSGHDR_SIZE)];
    putAddress(vector.view, 0, body.address);
    putAddress(vector.view, 8, TEXT_SIZE_MAX);
    putAddress(message.view, 16, vector.address);
    putAddress(message.view, 24, 1);
    putAddress(message.view, 32, control.address);
    putAddress(message.view, 40, CONTROL_SIZE);
    const length = libc().recvmsg(this.#socket.fd, message.address, MSG_CMSG_CLOEXEC);
    if (length < 0) return undefined;
    const hasDescriptor = message.view.getUint32(40, true) > 0;
    return {
      text: new TextDecoder().decode(body.bytes.subarray(0, length)),
      fd: hasDescriptor ? control.view.getInt32(CONTROL_FD_AT, true) : undefined,
    };
  }
}
