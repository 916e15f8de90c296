import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { type ErrorCode, SmhdrError } from "../../src/errors.js";
import { writeRadianceHdr } from "../../src/output/write-radiance-hdr.js";
import { encodeNpy } from "../../src/segment/npy.js";
import { segmentPhotograph } from "../../src/segment/segment-map.js";
import { findScenes, readScene } from "../../src/train/dataset.js";
import { type SyntheticBracket, synthesizeBracket } from "../../src/train/synthesis/synthesize.js";
import { writeScene } from "../../src/train/write-scene.js";
import { madeUpSources } from "./sources.js";

const width = 80;
const height = 64;
let root: string;
let bracket: SyntheticBracket;
let original: string;
let copies = 0;

before(async () => {
  root = await mkdtemp(join(tmpdir(), "smhdr-dataset-"));
  bracket = synthesizeBracket(madeUpSources, { width, height, exposures: 3, bits: 16 }, 3);
  original = join(root, "original");
  await writeScene(
    join(original, "Training", "scene"),
    bracket,
    segmentPhotograph(bracket.exposures[1], width, height, 40),
  );
});
after(() => rm(root, { recursive: true, force: true }));

/** Reads a copy of the data set after `change` was done to its scene's folder. */
async function readChanged(change: (folder: string) => Promise<unknown>) {
  const directory = join(root, `copy${copies++}`);
  await cp(original, directory, { recursive: true });
  await change(join(directory, "Training", "scene"));
  return Promise.all((await findScenes(directory, "Training")).map(readScene));
}

function fails(code: ErrorCode, ...patterns: RegExp[]) {
  return (error: unknown) => {
    assert.ok(error instanceof SmhdrError, String(error));
    assert.equal(error.code, code, error.message);
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  };
}

test("a scene reads back as it was written", async () => {
  const [scene] = await readChanged(async () => {});
  assert.equal(scene.name, "scene");
  assert.deepEqual([scene.width, scene.height], [width, height]);
  assert.deepEqual(scene.exposureValues, bracket.exposureValues);
  assert.deepEqual(scene.exposures, bracket.exposures);
  // RGBE keeps 8 bits of the largest channel.
  for (let k = 0; k < scene.truth.length; k += 3) {
    const largest = Math.max(bracket.truth[k], bracket.truth[k + 1], bracket.truth[k + 2]);
    for (let c = k; c < k + 3; c++) assert.ok(Math.abs(scene.truth[c] - bracket.truth[c]) <= largest / 255 + 1e-9);
  }
  assert.deepEqual(scene.segments, segmentPhotograph(bracket.exposures[1], width, height, 40).ids);
});

test("half-written scenes are never seen, and a failure leaves nothing", async () => {
  const folder = join(root, "blocked");
  await writeFile(folder, "a file where a folder should be");
  const segments = segmentPhotograph(bracket.exposures[1], width, height);
  await assert.rejects(writeScene(join(folder, "scene"), bracket, segments), fails("IO", /blocked/));
  const full = join(root, "full");
  const cut = { ...bracket, exposures: [bracket.exposures[0], new Uint16Array(5)] };
  await assert.rejects(writeScene(join(full, "scene"), cut, segments), fails("IO", /full/));
  assert.deepEqual(await readdir(full), []);
});

test("Prabhakar's names and deeper folders are understood", async () => {
  const scenes = await readChanged(async (folder) => {
    for (const i of [0, 1, 2]) {
      await cp(join(folder, `${i}.tif`), join(folder, `input_${i + 1}.tif`));
      await rename(join(folder, `${i}.tif`), join(folder, `input_${i + 1}_aligned.tif`));
    }
    await rename(join(folder, "exposure.txt"), join(folder, "input_exp.txt"));
    await rename(join(folder, "HDRImg.hdr"), join(folder, "ref_hdr_aligned.hdr"));
    await rm(join(folder, "masks.npy"));
    await cp(folder, join(folder, "..", "EXTRA", "deeper"), { recursive: true });
  });
  assert.deepEqual(
    scenes.map((scene) => scene.name),
    [join("EXTRA", "deeper"), "scene"],
  );
  assert.deepEqual(scenes[1].exposures, bracket.exposures);
  assert.equal(scenes[1].segments, undefined);
});

test("8-bit exposures come as 16-bit codes", async () => {
  const grey = { create: { width, height, channels: 3 as const, background: { r: 10, g: 128, b: 255 } } };
  const [scene] = await readChanged((folder) =>
    sharp(grey).tiff({ compression: "none" }).toFile(join(folder, "0.tif")),
  );
  assert.deepEqual([...scene.exposures[0].subarray(0, 3)], [10 * 257, 128 * 257, 65535]);
});

test("missing files are named", async () => {
  await assert.rejects(findScenes(join(root, "nowhere"), "Test"), fails("IO", /nowhere does not exist\.$/));
  for (const name of ["exposure.txt", "HDRImg.hdr"])
    await assert.rejects(
      readChanged((folder) => rm(join(folder, name))),
      fails("BAD_INPUT", /missing/, new RegExp(name)),
    );
  await assert.rejects(
    readChanged((folder) => Promise.all(["0.tif", "1.tif"].map((name) => rm(join(folder, name))))),
    fails("BAD_INPUT", /at least two \.tif exposures, found 1/),
  );
  await assert.rejects(
    readChanged((folder) => Promise.all(["0.tif", "1.tif", "2.tif"].map((name) => rm(join(folder, name))))),
    fails("BAD_INPUT", /no scene found/),
  );
});

test("exposure values must be one number per exposure", async () => {
  const write = (text: string) => readChanged((folder) => writeFile(join(folder, "exposure.txt"), text));
  await assert.rejects(write("0\n2\n"), fails("BAD_INPUT", /exposure\.txt/, /expected 3 .* got 2/));
  await assert.rejects(write("0\n2\n4\n6\n"), fails("BAD_INPUT", /got 4/));
  await assert.rejects(write("0\ntwo\n4\n"), fails("BAD_INPUT", /"two"/));
  await assert.rejects(write("0\nNaN\n4\n"), fails("BAD_INPUT", /"NaN"/));
});

test("sizes must agree", async () => {
  const small = { create: { width: 16, height: 16, channels: 3 as const, background: "red" } };
  await assert.rejects(
    readChanged((folder) => sharp(small).tiff().toFile(join(folder, "1.tif"))),
    fails("BAD_INPUT", /1\.tif: expected 80x64/, /16x16/),
  );
  await assert.rejects(
    readChanged((folder) => writeFile(join(folder, "masks.npy"), encodeNpy(new Float32Array(16), [4, 4, 1]))),
    fails("BAD_INPUT", /masks\.npy/, /\(64, 80, 1\)/, /\(4, 4, 1\)/),
  );
  await assert.rejects(
    readChanged(async (folder) => {
      await rm(join(folder, "HDRImg.hdr"));
      await writeTruth(folder, 8, 8, () => 1);
    }),
    fails("BAD_INPUT", /HDRImg\.hdr: expected 80x64/, /8x8/),
  );
});

test("damaged files are refused", async () => {
  const cut = async (path: string) => writeFile(path, (await readFile(path)).subarray(0, 500));
  for (const name of ["1.tif", "HDRImg.hdr", "masks.npy"])
    await assert.rejects(
      readChanged((folder) => cut(join(folder, name))),
      fails("BAD_INPUT", new RegExp(name)),
    );
  const grey = { create: { width, height, channels: 3 as const, background: "grey" } };
  await assert.rejects(
    readChanged((folder) => sharp(grey).toColourspace("b-w").tiff().toFile(join(folder, "0.tif"))),
    fails("BAD_INPUT", /0\.tif/, /RGB/),
  );
});

test("truth that is negative is refused where it stands", async () => {
  // An EXR called .hdr is read by its content; RGBE itself cannot hold a negative value.
  await assert.rejects(
    readChanged(async (folder) => {
      const { writeOpenExr } = await import("../../src/output/write-openexr.js");
      await rm(join(folder, "HDRImg.hdr"));
      const data = new Float32Array(width * height * 3).fill(0.5);
      data[(3 * width + 7) * 3] = -0.25;
      await writeOpenExr(
        { width, height, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" }, metadata: {} },
        join(folder, "HDRImg.hdr"),
        {},
      );
    }),
    fails("BAD_INPUT", /HDRImg\.hdr/, /-0\.25 at pixel \(7, 3\)/),
  );
});

function writeTruth(folder: string, w: number, h: number, value: () => number): Promise<void> {
  const data = new Float32Array(w * h * 3).map(value);
  return writeRadianceHdr(
    { width: w, height: h, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" }, metadata: {} },
    join(folder, "HDRImg.hdr"),
  );
}
