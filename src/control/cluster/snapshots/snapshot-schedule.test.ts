import { describe, expect, test } from "bun:test";
import {
  SNAPSHOT_EARLY_SIZE_MAX_BYTES,
  SNAPSHOT_LOG_SIZE_BYTES,
  SNAPSHOT_OLD_MS,
  SNAPSHOT_QUIET_MS,
} from "../limits.ts";
import { SnapshotSchedule } from "./snapshot-schedule.ts";

const ENTRIES_MAX = 100;
const EARLY = 10;

function scheduleWith(entryCount: number, sizeBytes = 1): SnapshotSchedule {
  const schedule = new SnapshotSchedule({ entriesMax: ENTRIES_MAX, nowMs: 0 });
  for (let i = 0; i < entryCount; i++) schedule.counted(sizeBytes);
  return schedule;
}

describe("SnapshotSchedule", () => {
  test("one is due after so many entries, or bytes", () => {
    expect(scheduleWith(ENTRIES_MAX - 1).isDue).toBeFalse();
    expect(scheduleWith(ENTRIES_MAX).isDue).toBeTrue();
    expect(scheduleWith(1, SNAPSHOT_LOG_SIZE_BYTES - 1).isDue).toBeFalse();
    expect(scheduleWith(1, SNAPSHOT_LOG_SIZE_BYTES).isDue).toBeTrue();
  });

  test("one is worthwhile after a tenth of that, while the state is small", () => {
    expect(scheduleWith(EARLY - 1).isWorthwhile).toBeFalse();
    const schedule = scheduleWith(EARLY);
    expect(schedule.isWorthwhile).toBeTrue();
    schedule.measured(SNAPSHOT_EARLY_SIZE_MAX_BYTES + 1);
    expect(schedule.isWorthwhile).toBeFalse();
    for (let i = EARLY; i < ENTRIES_MAX; i++) schedule.counted(1);
    expect(schedule.isWorthwhile).toBeTrue();
  });

  test("a worthwhile one is ripe when nothing has happened for a while", () => {
    const schedule = scheduleWith(EARLY);
    expect(schedule.isRipe(1000)).toBeFalse();
    expect(schedule.isRipe(1000 + SNAPSHOT_QUIET_MS - 1)).toBeFalse();
    schedule.counted(1);
    expect(schedule.isRipe(1000 + SNAPSHOT_QUIET_MS)).toBeFalse();
    expect(schedule.isRipe(1000 + 2 * SNAPSHOT_QUIET_MS)).toBeTrue();
    schedule.begun(1000 + 2 * SNAPSHOT_QUIET_MS);
    expect(schedule.isRipe(1000 + 9 * SNAPSHOT_QUIET_MS)).toBeFalse();
  });

  test("with something happening all the time, it is ripe when the last is old", () => {
    const schedule = scheduleWith(EARLY);
    let nowMs = 0;
    for (; nowMs < SNAPSHOT_OLD_MS; nowMs += SNAPSHOT_OLD_MS / 50) {
      expect(schedule.isRipe(nowMs)).toBeFalse();
      schedule.counted(1);
    }
    expect(schedule.isRipe(nowMs)).toBeTrue();
  });
});
