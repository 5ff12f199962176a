/**
 * MAC addresses as netlink has them: six bytes in the order in which they are spoken.
 *
 * @module
 */
import { type MacAddress, parseMac } from "../../base/address.ts";

/** The six bytes of `mac`. */
export function macBytes(mac: MacAddress): Uint8Array {
  return Uint8Array.from(mac.split(":"), (digits) => Number(`0x${digits}`));
}

/** The bytes as text, however many there are. */
export function formatMac(bytes: Uint8Array | undefined): string {
  return Array.from(bytes ?? [], (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** The MAC in an attribute, or undefined when it is absent or of another length. */
export function decodeMac(bytes: Uint8Array | undefined): MacAddress | undefined {
  return bytes?.length === 6 ? parseMac(formatMac(bytes)) : undefined;
}
