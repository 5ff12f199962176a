/**
 * Which offloads are on, shared with the control plane: one number each, 0 or why it is off.
 *
 * Some kernels and cards accept an offload and then fail each packet that uses it. What fails
 * FAILURE_COUNT_MAX times without one success is switched off, and the loop goes on without it.
 *
 * @module
 */

/** Offloads by position. */
export const OFFLOAD = {
  /** TUN: TCP super-packets out of the kernel. */
  TSO: 0,
  /** TUN: UDP super-packets out of the kernel. */
  USO: 1,
  /** Socket: one message cut into many datagrams (UDP_SEGMENT). */
  GSO: 2,
  /** Socket: many datagrams joined into one message (UDP_GRO). */
  GRO: 3,
  /** TUN: TCP segments joined before they are written. */
  TCP_JOIN: 4,
  /** TUN: UDP datagrams joined before they are written. */
  UDP_JOIN: 5,
} as const;

/** Names of the offloads in their order. */
export const OFFLOAD_NAMES = ["tso", "uso", "gso", "gro", "tcp_join", "udp_join"] as const;

/** 0 is on; a positive number is the error that switched it off. */
export const OFFLOAD_ON = 0;
/** Set beside the error number when it failed in use and not when it was asked for. */
export const OFFLOAD_FAILED_IN_USE = 0x1_0000;

/** Set beside the error number when the test at start found it broken. */
export const OFFLOAD_FAILED_TEST = 0x2_0000;
/** The operator switched it off; there is no error number. */
export const OFFLOAD_FORBIDDEN = 0x4_0000;

/** One success forgives what failed before: a path with a small MTU refuses single messages. */
const FAILURE_COUNT_MAX = 8;

/** The loop's end of the state. Owned by the loop's thread. */
export class OffloadState {
  readonly #state: Int32Array;
  readonly #failures = new Int32Array(OFFLOAD_NAMES.length);

  constructor(state: Int32Array) {
    this.#state = state;
  }

  isOn(offload: number): boolean {
    return this.#state[offload] === OFFLOAD_ON;
  }

  succeeded(offload: number): void {
    this.#failures[offload] = 0;
  }

  /** Counts a failure with `errno`; switches `offload` off when there were enough. */
  failed(offload: number, errno: number): void {
    const failures = this.#failures[offload]! + 1;
    this.#failures[offload] = failures;
    if (failures >= FAILURE_COUNT_MAX) this.#state[offload] = errno | OFFLOAD_FAILED_IN_USE;
  }
}
