/**
 * Bytes as text for golden vectors: groups of hexadecimal digits, any white space between them.
 *
 * @module
 */

/** The first `length` bytes of `view` as words of four bytes, in the order of memory. */
export function hexWords(view: DataView, length = view.byteLength): string {
  const hex = Buffer.from(view.buffer, view.byteOffset, length).toString("hex");
  return hex.match(/.{1,8}/g)?.join(" ") ?? "";
}

/** The bytes that `text` writes. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(text.replace(/\s+/g, ""), "hex"));
}

/** A buffer full of stale bytes, as a reused one is: what an encoder leaves out would show. */
export function staleBuffer(size = 1024): DataView<ArrayBuffer> {
  const bytes = new Uint8Array(size).fill(0xee);
  return new DataView(bytes.buffer);
}
