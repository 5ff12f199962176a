/**
 * Reader of the classic capture file format, as tcpdump writes it to a pipe.
 *
 *      0  magic a1b2c3d4 (microseconds) or a1b23c4d (nanoseconds), in the writer's byte order
 *      4  version 2.4, time zone, accuracy, snap length (unused here)
 *     20  link type
 *     24  per packet: seconds, fraction, captured length, length on the wire, then the bytes
 *
 * Source: draft-ietf-opsawg-pcap. Not the newer pcapng.
 *
 * @module
 */

/** One captured frame. `bytes` begins with the link's own header, see `linkType`. */
export interface CapturedFrame {
  /** Seconds since 1970, with a fraction. */
  readonly timeSeconds: number;
  /** LINKTYPE_*: 1 Ethernet, 101 raw IP (what a TUN gives). */
  readonly linkType: number;
  readonly bytes: Uint8Array;
  /** Length on the wire; more than `bytes.length` when the capture cut it. */
  readonly wireLength: number;
}

const FILE_HEADER_SIZE = 24;
const FRAME_HEADER_SIZE = 16;
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;

/** All whole frames in `file`; a frame that is still being written at the end is left out. */
export function decodePcap(file: Uint8Array): CapturedFrame[] {
  if (file.length < FILE_HEADER_SIZE) return [];
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const little = isPcapMagic(view.getUint32(0, true));
  const magic = view.getUint32(0, little);
  if (!isPcapMagic(magic)) throw new Error("Cannot read capture: not a pcap file");
  const fraction = magic === MAGIC_NANOSECONDS ? 1e-9 : 1e-6;
  const linkType = view.getUint32(20, little);
  const frames: CapturedFrame[] = [];
  let offset = FILE_HEADER_SIZE;
  while (offset + FRAME_HEADER_SIZE <= file.length) {
    const length = view.getUint32(offset + 8, little);
    const start = offset + FRAME_HEADER_SIZE;
    if (start + length > file.length) break;
    frames.push({
      timeSeconds: view.getUint32(offset, little) + view.getUint32(offset + 4, little) * fraction,
      linkType,
      bytes: file.subarray(start, start + length),
      wireLength: view.getUint32(offset + 12, little),
    });
    offset = start + length;
  }
  return frames;
}

function isPcapMagic(value: number): boolean {
  return value === MAGIC_MICROSECONDS || value === MAGIC_NANOSECONDS;
}
