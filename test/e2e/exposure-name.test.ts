import assert from "node:assert/strict";
import { it } from "node:test";
import { exposureValueFromName } from "../../plugin/panel/exposure-name.js";

it("exposure values are read from names, and from nothing that only looks like one", () => {
  const cases: [name: string, value: number | undefined][] = [
    ["-2EV", -2],
    ["+1.3 EV", 1.3],
    ["IMG_1234 0ev", 0],
    ["\u22122 EV", -2],
    ["EV -2/3", -2 / 3],
    ["EV+1,5", 1.5],
    ["ev=2", 2],
    ["2 stops", 2],
    ["scene (1 stop)", 1],
    ["IMG_1234", undefined],
    ["Layer 3", undefined],
    ["12 events", undefined],
    ["level 5", undefined],
    ["IMG_9912 EVening", undefined],
    ["4000 EV", undefined],
    ["1/0 EV", undefined],
  ];
  for (const [name, value] of cases) assert.equal(exposureValueFromName(name), value, name);
});
