import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { SmhdrError } from "../../src/errors.js";
import { niceTicks, plot } from "../../src/train/plot.js";
import { writeReport } from "../../src/train/report.js";
import { makeRunFolder } from "../../src/train/run-folder.js";
import { train } from "../../src/train/train.js";
import { tinyConfig, writeTrainingSet } from "./training-set.js";

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "smhdr-report-"));
});
after(() => rm(root, { recursive: true, force: true }));

const count = (text: string, pattern: RegExp) => (text.match(pattern) ?? []).length;

test("a run's page has its plots and pictures and loads nothing", async () => {
  const data = join(root, "data");
  const run = join(root, "run <b>");
  await writeTrainingSet(data);
  await train({ data, output: run, config: tinyConfig() });
  const path = join(root, "report.html");
  await writeReport(run, path);
  const html = await readFile(path, "utf8");
  assert.doesNotMatch(html, /(src|href)="(?!data:)|@import|url\(|<script|<b>"|run <b>/);
  assert.equal(count(html, /<svg /g), 6);
  for (const title of ["Loss", "Validation", "Mask ratio", "Learning rate", "Local quality"])
    assert.match(html, new RegExp(title));
  assert.doesNotMatch(html, /nothing measured/);
  assert.doesNotMatch(html, /NaN|undefined/);
  // First and last of the validation scene; peak and last of two mapped scenes.
  assert.equal(count(html, /<img /g), 2 + 4);
  assert.match(html, /epoch 3, PSNR-mu \d+\.\d\d dB/);
  assert.match(html, /mask map/);
  assert.match(html, /<th>network\.width<\/th><td>12<\/td>/);
});

test("a run that has only begun has a page too; a folder that is no run has none", async () => {
  const folder = await makeRunFolder(join(root, "begun"), tinyConfig());
  await writeReport(folder.path, join(root, "begun.html"));
  assert.match(await readFile(join(root, "begun.html"), "utf8"), /nothing measured yet/);
  // A line that was cut off by a crash is left out.
  await writeFile(
    folder.metrics,
    '{"event":"step","epoch":1,"step":1,"loss":0.5,"rate":1e-3,"maskRatio":0}\n{"event":"st',
  );
  await writeReport(folder.path, join(root, "begun.html"));
  assert.match(await readFile(join(root, "begun.html"), "utf8"), /0\.5000/);
  await assert.rejects(
    writeReport(root, join(root, "none.html")),
    (error) => error instanceof SmhdrError && error.code === "IO" && /training run/.test(error.message),
  );
});

test("plots", () => {
  assert.deepEqual(niceTicks(0, 1, 4), [0, 0.5, 1]);
  assert.deepEqual(niceTicks(-3, 17, 4), [0, 5, 10, 15]);
  const line = (points: [number, number][]) => ({ name: "a", colour: "#000", points });
  const svg = plot(
    [
      line([
        [0, 1],
        [1, 10],
        [2, Number.NaN],
        [3, 100],
      ]),
    ],
    { title: "<t>", logarithmic: true },
  );
  assert.match(svg, /&#60;t&#62;/);
  const [, points] = /points="([^"]+)"/.exec(svg) ?? [];
  const ys = points.split(" ").map((pair) => Number(pair.split(",")[1]));
  // A decade is the same height everywhere; what is no number is left out.
  assert.equal(ys.length, 3);
  assert.ok(Math.abs(ys[0] - ys[1] - (ys[1] - ys[2])) < 0.2);
  const many = plot([line(Array.from({ length: 5000 }, (_, i) => [i, i]))], { title: "t" });
  assert.ok((/points="([^"]+)"/.exec(many)?.[1].split(" ").length ?? 0) <= 500);
  assert.doesNotMatch(plot([line([[5, 3]])], { title: "one point" }), /NaN|Infinity/);
});
