/**
 * The checks on a node's settings.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { assertConfig, type RaftConfig } from "./config.ts";
import { configOf, N, TEST_CONFIG } from "./test-cluster.ts";

const CONFIG: RaftConfig = { ...TEST_CONFIG, id: N(1), confState: configOf([1]) };

describe("assertConfig", () => {
  test("accepts the settings that the tests run with", () => {
    expect(() => assertConfig(CONFIG)).not.toThrow();
  });

  const TABLE: readonly { readonly change: Partial<RaftConfig>; readonly text: string }[] = [
    { change: { heartbeatTicks: 0 }, text: "heartbeat ticks must be greater than 0" },
    { change: { electionTicks: 1 }, text: "election ticks must exceed" },
    { change: { inflightCountMax: 0 }, text: "inflight count must be greater than 0" },
    { change: { inflightSizeMaxBytes: 1 }, text: "at least the message size" },
    { change: { committedSizeMaxBytes: 0 }, text: "committed size must be greater than 0" },
    { change: { readOnly: "lease_based", checkQuorum: false }, text: "need the quorum check" },
  ];
  for (const { change, text } of TABLE) {
    test(`refuses ${JSON.stringify(change)}`, () => {
      expect(() => assertConfig({ ...CONFIG, ...change })).toThrow(text);
    });
  }
});
