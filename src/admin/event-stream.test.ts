import { expect, test } from "bun:test";
import fc from "fast-check";
import { encodeStreamEvent, STREAM_COMMENT, StreamDecoder } from "./event-stream.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const decode = (text: string) => new StreamDecoder(1000).push(bytes(text));

const rows: {
  text: string;
  events: [name: string, data: string, lastId: string][];
  why: string;
}[] = [
  { text: "data: x\n\n", events: [["message", "x", ""]], why: "an event without a name" },
  { text: "event: put\nid: 7\ndata: x\n\n", events: [["put", "x", "7"]], why: "all fields" },
  { text: "data:x\r\n\r\n", events: [["message", "x", ""]], why: "no blank, other line ends" },
  { text: "data:  x\n\n", events: [["message", " x", ""]], why: "only one blank goes" },
  { text: "data: a\ndata: b\n\n", events: [["message", "a\nb", ""]], why: "two lines of data" },
  { text: "data\n\n", events: [["message", "", ""]], why: "a field without a value" },
  { text: ": comment\n\nevent: x\n\n", events: [], why: "no data, no event" },
  { text: "retry: 5\nfoo: bar\ndata: x\n\n", events: [["message", "x", ""]], why: "others" },
  { text: "data: x\n", events: [], why: "not ended yet" },
  {
    text: "id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
    events: [
      ["message", "a", "7"],
      ["message", "b", "7"],
      ["message", "c", ""],
    ],
    why: "an id holds until the next one",
  },
];
for (const { text, events, why } of rows) {
  test(`StreamDecoder: ${why}`, () => {
    expect(decode(text)).toEqual(events.map(([name, data, lastId]) => ({ name, data, lastId })));
  });
}

test("StreamDecoder: what was encoded comes back, cut anywhere", () => {
  const event = fc.record({
    name: fc.constantFrom("put", "delete", "bookmark"),
    data: fc.jsonValue(),
    id: fc.option(fc.nat(), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(event), fc.array(fc.nat()), (events, cuts) => {
      const texts = events.map(({ name, data, id }) => encodeStreamEvent(name, data, id));
      const stream = bytes(texts.join(STREAM_COMMENT));
      const at = [...cuts.map((cut) => cut % (stream.length + 1)), 0, stream.length];
      at.sort((a, b) => a - b);
      const decoder = new StreamDecoder(1_000_000);
      const decoded = at.flatMap(
        (to, i) => decoder.push(stream.subarray(at[i - 1] ?? 0, to)) ?? [],
      );
      expect(decoded.map(({ name, data }) => [name, JSON.parse(data)])).toEqual(
        events.map(({ name, data }) => [name, JSON.parse(JSON.stringify(data))]),
      );
      expect(decoded.at(-1)?.lastId ?? "").toBe(
        String(events.findLast(({ id }) => id !== undefined)?.id ?? ""),
      );
    }),
    { seed: 41 },
  );
});

test("StreamDecoder: does not collect for ever", () => {
  const decoder = new StreamDecoder(1000);
  expect(decoder.push(bytes(`data: ${"x".repeat(900)}`))).toEqual([]);
  expect(decoder.push(bytes("x".repeat(200)))).toBeUndefined();
  const lines = new StreamDecoder(1000);
  expect(lines.push(bytes("data: x\n".repeat(2000)))).toBeUndefined();
});
