import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { outputNames } from "../../src/batch/output-names.js";
import { planBatch, planTable } from "../../src/batch/plan.js";
import { readPlan, writePlan } from "../../src/batch/plan-file.js";
import { brackets, take } from "./photographs.js";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-plan-"));
});
after(() => rm(folder, { recursive: true, force: true }));

describe("planning a batch", () => {
  it("refuses what is no list of folders", async () => {
    await assert.rejects(planBatch("photos" as unknown as string[]), /folders: expected an array .*got "photos"/);
  });

  it("finds the brackets of nested folders, and leaves what cannot be read", async () => {
    const mixed = join(folder, "mixed");
    await take(mixed, [...brackets(2), { name: "day 2/single.jpg", stops: 0, at: 100 }]);
    await take(join(mixed, "day 2"), brackets(1));
    await writeFile(join(mixed, "broken.jpg"), "no picture");
    await writeFile(join(mixed, "notes.txt"), "no picture");
    await symlink(mixed, join(mixed, "again")); // a way back must not be followed for ever
    const plan = await planBatch([mixed]);
    assert.deepEqual(
      plan.brackets.map(({ name, photographs }) => [name, photographs.length]),
      [
        ["day 2/IMG_0001", 3],
        ["IMG_0001", 3],
        ["IMG_0004", 3],
      ],
    );
    assert.match(plan.brackets[1].about ?? "", /^96 x 64; 1\/400 1\/100 1\/25 s; 2026-05-01 12:00:00; /);
    assert.deepEqual(plan.left.map(({ path }) => path).sort(), [
      join(mixed, "broken.jpg"),
      join(mixed, "day 2", "single.jpg"),
    ]);
    const table = planTable(plan);
    assert.match(table, /IMG_0004 +3 .*IMG_0004\.jpg IMG_0005\.jpg IMG_0006\.jpg/);
    assert.match(table, /left: 1 .*cannot be read.*broken\.jpg/);
  });

  it("names brackets of several folders by their folders", async () => {
    const [a, b] = ["a", "b"].map((name) => join(folder, name));
    await take(a, brackets(1));
    await take(b, brackets(1));
    const { brackets: found } = await planBatch([a, b]);
    assert.deepEqual(
      found.map(({ name }) => name),
      ["a/IMG_0001", "b/IMG_0001"],
    );
  });

  it("keeps photographs of two folders apart that are named alike", async () => {
    const days = ["monday", "tuesday"].map((name) => join(folder, name));
    for (const day of days)
      await take(
        day,
        ["hall_1", "hall_2"].map((name, i) => ({ name: `${name}.png`, stops: 2 * i, exif: false })),
      );
    const { brackets: found } = await planBatch(days, { pattern: "{bracket}_{exposure}" });
    assert.deepEqual(
      found.map(({ name, photographs }) => [name, photographs]),
      days.map((day, i) => [`${["monday", "tuesday"][i]}/hall`, [join(day, "hall_1.png"), join(day, "hall_2.png")]]),
    );
  });

  it("groups by names where EXIF tells nothing", async () => {
    const named = join(folder, "named");
    await take(
      named,
      ["hall_ev-2", "hall_ev0", "hall_ev+2.5", "yard_ev0", "yard_ev1", "alone_ev0", "other"].map((name) => ({
        name: `${name}.png`,
        stops: 0,
        exif: false,
      })),
    );
    const { brackets: found, left } = await planBatch([named], { pattern: "{bracket}_ev{ev}" });
    assert.deepEqual(
      found.map(({ name, ev }) => [name, ev]),
      [
        ["hall", [-2, 0, 2.5]],
        ["yard", [0, 1]],
      ],
    );
    assert.equal(left.length, 2);
    const folders = join(folder, "folders");
    await take(
      folders,
      ["x/1", "x/2", "y/1", "y/2"].map((name) => ({ name: `${name}.jpg`, stops: 0, exif: false })),
    );
    const plan = await planBatch([folders], { pattern: "{bracket}/{exposure}.jpg" });
    assert.deepEqual(
      plan.brackets.map(({ name }) => name),
      ["x", "y"],
    );
    for (const pattern of ["{exposure}.jpg", "{bracket}_{wrong}", "{bracket}{bracket}"])
      await assert.rejects(planBatch([named], { pattern }), { code: "INVALID_ARGUMENT" });
  });

  it("says which folder is not there", async () => {
    await assert.rejects(planBatch([join(folder, "nowhere")]), { code: "IO", message: /nowhere does not exist/ });
  });
});

describe("plan files", () => {
  it("keep what they were written with, by names from where they lie", async () => {
    const photos = join(folder, "kept");
    await take(photos, brackets(2));
    const plan = await planBatch([photos]);
    const path = join(photos, "plan.json");
    await writePlan(plan, path);
    assert.deepEqual(JSON.parse(await readFile(path, "utf8")).brackets[0].photographs[0], "IMG_0001.jpg");
    assert.deepEqual(await readPlan(path), plan);
    await assert.rejects(writePlan(plan, path), { code: "INVALID_ARGUMENT", message: /may have been corrected/ });
  });

  it("are refused with the place that is wrong", async () => {
    const path = join(folder, "wrong.json");
    const bracket = { name: "a", photographs: ["1.jpg", "2.jpg"] };
    const cases: [unknown, RegExp][] = [
      ["{", /not JSON/],
      [{ brackets: [] }, /"format"/],
      [{ format: "smhdr plan 1", brackets: {} }, /"brackets": expected a list/],
      [{ format: "smhdr plan 1", brackets: [bracket, { ...bracket, name: 3 }] }, /bracket 2: "name"/],
      [{ format: "smhdr plan 1", brackets: [{ ...bracket, photographs: ["1.jpg"] }] }, /2 to 16 photographs; got 1/],
      [{ format: "smhdr plan 1", brackets: [{ ...bracket, photographs: ["1.jpg", "./1.jpg"] }] }, /comes twice/],
      [{ format: "smhdr plan 1", brackets: [{ ...bracket, ev: [0] }] }, /"ev" of a: expected 2 numbers; got \[0\]/],
      [{ format: "smhdr plan 1", brackets: [{ ...bracket, reference: 2 }] }, /"reference" of a: expected 0 to 1/],
    ];
    for (const [content, message] of cases) {
      await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
      await assert.rejects(readPlan(path), { code: "BAD_INPUT", message });
    }
    await assert.rejects(readPlan(join(folder, "no.json")), { code: "IO", message: /does not exist/ });
  });
});

describe("names of results", () => {
  const planned = ["day/IMG_1", "day/IMG_4"].map((name, i) => ({
    name,
    photographs: [0, 1, 2].map((k) => `/photos/day/IMG_${3 * i + k + 1}.jpg`),
  }));

  it("are made of a bracket's own", () => {
    assert.deepEqual(outputNames(planned, ["{name}.exr", "{folder}/{first}-{last} {count} {index:3}.jpg"])[1], [
      join("day", "IMG_4.exr"),
      join("day", "IMG_4-IMG_6 3 002.jpg"),
    ]);
  });

  it("are refused where they collide, leave the folder or mean no format", () => {
    const cases: [string, RegExp][] = [
      ["{folder}/x.exr", /gives "day.x\.exr" to day\/IMG_1 and day\/IMG_4; add/],
      ["../{name}.exr", /inside the output folder/],
      ["/{first}.exr", /inside the output folder/],
      ["{name}.raw", /the extension "\.raw" is unknown/],
      ["{nme}.exr", /got "\{nme\}"/],
    ];
    for (const [template, message] of cases)
      assert.throws(() => outputNames(planned, [template]), { code: "INVALID_ARGUMENT", message });
  });
});
