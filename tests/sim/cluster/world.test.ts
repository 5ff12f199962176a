/**
 * One step of a simulated world.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { decodeNodeId } from "../../../src/base/ids.ts";
import { drawScenario } from "./scenario.ts";
import { SimProcess } from "./sim-process.ts";
import { World } from "./world.ts";

const CASES = [
  { what: "ends", change: (process: SimProcess) => process.kill(), after: [] },
  {
    what: "stops for a while",
    change: (process: SimProcess) => process.pause(),
    after: ["effect"],
  },
];

for (const { what, change, after } of CASES) {
  test(`what a run was about to do does not happen once it ${what}, in the same step`, () => {
    const world = new World(drawScenario(1, "calm"));
    const id = { node: decodeNodeId(1), run: 1 };
    const process = new SimProcess(id, world.scheduler, () => undefined);
    const done: string[] = [];
    // As a disk does: a rename after the loss of power would move a file of the next run.
    process.after(1, "disk", () => done.push("effect"), "rename");
    world.laterSteps(1, () => change(process));
    world.step();
    expect(done).toEqual([]);
    process.resume(true);
    while (world.step());
    expect(done).toEqual(after);
  });
}
