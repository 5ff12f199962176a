import { expect, test } from "bun:test";
import { decodeNodeId } from "../../base/ids.ts";
import { createSilentLog } from "../../base/log.ts";
import { DiskWatch } from "./disk-watch.ts";
import { DISK_RESIGN_TICKS, DISK_STALL_TICKS } from "./limits.ts";

function setUp() {
  const appends = { pendingCount: 1, durableCount: 7 };
  const watch = new DiskWatch({
    appends,
    view: { isLeader: () => false, otherVoters: () => [decodeNodeId(2)] },
    raft: {
      status: () => {
        throw new Error("a follower has nothing to hand over");
      },
      transferLeadership: () => {},
      resign: () => {},
    },
    log: createSilentLog(),
  });
  return { appends, watch };
}

test("disk watch: what becomes durable, or nothing to wait for, is a sign of life", () => {
  const { appends, watch } = setUp();
  for (let count = 0; count < 50; count++) {
    appends.durableCount += 1;
    watch.tick(9);
  }
  appends.pendingCount = 0;
  for (let i = 0; i < 50; i++) watch.tick(9);
  expect(watch.isStalled).toBeFalse();
});

test("disk watch: stalled after so many ticks, well again at once", () => {
  const { appends, watch } = setUp();
  watch.tick(3);
  for (let ticks = 1; ticks < DISK_STALL_TICKS; ticks++) watch.tick(1);
  expect(watch.isStalled).toBeFalse();
  watch.tick(1);
  expect(watch.isStalled).toBeTrue();
  watch.tick(DISK_RESIGN_TICKS);
  appends.durableCount += 1;
  watch.tick(1);
  expect(watch.isStalled).toBeFalse();
});
