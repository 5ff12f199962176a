/**
 * Address families by the kernel's numbers (include/linux/socket.h).
 *
 * @module
 */
import type { Family } from "../../base/address.ts";

const AF_INET = 2;
const AF_INET6 = 10;

/** AF_INET or AF_INET6. */
export const FAMILY_NUMBERS: Readonly<Record<Family, number>> = { 4: AF_INET, 6: AF_INET6 };

/** The family with the kernel's number `number`, or undefined for one that we do not speak. */
export function decodeFamily(number: number): Family | undefined {
  if (number === AF_INET) return 4;
  return number === AF_INET6 ? 6 : undefined;
}
