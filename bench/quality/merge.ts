// How good merging is: npx tsx bench/quality/merge.ts [--per-source 2, 0 for none] [--spacing 2] [--model smhdr-s ...] [--follow none] [--noise 0.1 of what cameras have]
//    [--json] [HDR_IMAGES...]
// 1. Dynamic brackets synthesised from the images, default the public test images (3 exposures 2 stops apart, moving objects, hand-held):
//    the radiance merge and models, as smhdr merge makes them, against the reference exposure alone and OpenCV's
//    AlignMTB + MergeDebevec (python3, or $SMHDR_PYTHON, with cv2).
// 2. Real static brackets, against a plain weighted merge of the same exposures.
// 3. The example bracket against its truth.
// Data: $SMHDR_DATA or ../shared/data; what is absent is skipped, saying so.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import type { Bracket } from "../../src/bracket/bracket.js";
import { bracketFromImages, readBracket } from "../../src/bracket/read-bracket.js";
import { linearTable } from "../../src/bracket/transfer.js";
import { readRadiance } from "../../src/codec/read-radiance.js";
import { muLaw } from "../../src/measure/mu-law.js";
import { psnr } from "../../src/measure/psnr.js";
import { mergeRadiance } from "../../src/reconstruct/radiance.js";
import { Reconstructor } from "../../src/reconstruct/reconstructor.js";
import { loadSources } from "../../src/train/synthesis/load-sources.js";
import { type SyntheticBracket, synthesizeBracket } from "../../src/train/synthesis/synthesize.js";
import { halvedElsewhere, meanShares, type PlacedError, placeError, places } from "./error-places.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "per-source": { type: "string", default: "2" },
    spacing: { type: "string", default: "2" },
    model: { type: "string", multiple: true, default: [] },
    follow: { type: "string", default: "auto" },
    noise: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const follow = values.follow as "auto" | "none";
const models = await Promise.all(values.model.map((model) => Reconstructor.load({ method: "network", model })));
const names = ["radiance", "reference", "opencv", ...values.model.map((model) => basename(model, ".safetensors"))];
const root = new URL("../../", import.meta.url).pathname;
const data = process.env.SMHDR_DATA ?? join(root, "../shared/data");
const testImages = [
  ...[
    "leadenhall_market",
    "peppermint_powerplant",
    "st_peters_square_night",
    "phalzer_forest_01",
    "potsdamer_platz",
    "lebombo",
  ].map((name) => `hdri/${name}_1k.hdr`),
  ...["Desk", "GoldenGate", "CandleGlass"].map((name) => `exr/${name}.exr`),
].map((name) => join(data, name));
const staticBrackets = ["memorial", "ntu_library", "ntu_turtle", "ssarcandy_taipei", "stack_room"];
const size = { width: 512, height: 384 };

const say = (text: string) => {
  if (!values.json) console.log(text);
};
const wide = (value: number) => (Number.isNaN(value) ? "-" : value.toFixed(2)).padStart(14);
const cell = (value: number | undefined) => (value === undefined ? "-" : value.toFixed(2)).padStart(9);

/** The factor on `result` that brings it closest to the truth after the mu-law. */
function fit(result: Float32Array, truth: Float32Array): Float32Array {
  const scaled = (stops: number) => result.map((v) => Math.min(1, Math.max(0, v * 2 ** stops)));
  let best = 0;
  let quality = Number.NEGATIVE_INFINITY;
  for (let step = 0.25; step >= 0.03; step /= 2) {
    const centre = best;
    for (let k = -6; k <= 6; k++) {
      const stops = centre + k * step;
      const db = psnr(scaled(stops), truth, muLaw);
      if (db > quality) [quality, best] = [db, stops];
    }
  }
  return scaled(best);
}

/** Brings `values` near `anchor` by the ratio of their medians over what is neither dark nor bright in the anchor. */
function normalise(values: Float32Array, anchor: Float32Array): Float32Array {
  const ratios = Array.from(anchor, (v, i) => (v > 0.001 && v < 0.5 && values[i] > 0 ? v / values[i] : Number.NaN));
  const sorted = ratios.filter(Number.isFinite).sort((a, b) => a - b);
  const scale = sorted[sorted.length >> 1];
  return values.map((v) => Math.min(1, v * scale));
}

async function dynamic(): Promise<void> {
  const images = positionals.length > 0 ? positionals : testImages;
  const present = images.filter((path) => existsSync(path));
  if (present.length === 0) return say(`skipped: dynamic brackets (no test images under ${data})`);
  if (Number(values["per-source"]) === 0) return;
  const folder = await mkdtemp(join(tmpdir(), "smhdr-quality-"));
  try {
    const sources = await loadSources(present);
    const scenes: { name: string; folder: string; bracket: SyntheticBracket }[] = [];
    for (const [s, source] of sources.entries()) {
      for (let k = 0; k < Number(values["per-source"]); k++) {
        const bracket = synthesizeBracket(
          [source],
          {
            ...size,
            exposures: 3,
            evSpacing: [Number(values.spacing)],
            motion: 1,
            objects: [1, 4],
            handheld: 1,
            response: 0,
            ...(values.noise !== undefined && { noise: Number(values.noise) }),
          },
          1000 * s + k,
        );
        const scene = { name: `${present[s].split("/").at(-1)} ${k + 1}`, folder: join(folder, `${s}-${k}`), bracket };
        await mkdir(scene.folder);
        for (const [i, codes] of bracket.exposures.entries()) {
          const bytes = Uint8Array.from(codes, (code) => Math.round(code / 257));
          await sharp(bytes, { raw: { ...size, channels: 3 } })
            .png()
            .toFile(join(scene.folder, `${i}.png`));
        }
        await writeFile(join(scene.folder, "exposure.txt"), bracket.exposureValues.join("\n"));
        scenes.push(scene);
      }
    }
    const python = process.env.SMHDR_PYTHON ?? "python3";
    const script = join(root, "bench/quality/opencv_debevec.py");
    const opencv = spawnSync(python, [script, ...scenes.map((scene) => scene.folder)], { encoding: "utf8" });
    if (opencv.status !== 0)
      say(`skipped: OpenCV (${python} with cv2 and numpy is needed; SMHDR_PYTHON names another)`);

    say(`\nDynamic brackets, ${values.spacing} stops apart: PSNR-mu and PSNR-l in dB`);
    say(
      "scene".padEnd(34) + ["mu", "l"].flatMap((kind) => names.map((name) => `${name} ${kind}`.padStart(14))).join(""),
    );
    const rows: number[][] = [];
    const errors: PlacedError[][] = names.map(() => []);
    for (const { name, folder: place, bracket } of scenes) {
      const { truth, exposures, exposureValues } = bracket;
      const encoding = { transfer: "gamma2.2", primaries: "srgb" } as const;
      const images = exposures.map((pixels) => ({ ...size, channels: 3, data: pixels, encoding }));
      const opened = await bracketFromImages(images, { ev: exposureValues, follow });
      const table = linearTable("gamma2.2", 16);
      const results: (Float32Array | undefined)[] = [
        (await mergeRadiance(opened)).data,
        Float32Array.from(exposures[1], (code) => table[code] / 2 ** exposureValues[1]),
        undefined,
      ];
      if (opencv.status === 0) {
        const raw = await readFile(join(place, "debevec.raw"));
        results[2] = fit(new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length)), truth);
      }
      for (const model of models) results.push((await model.run(opened)).data);
      opened.close();
      const row = [muLaw, undefined].flatMap((curve) =>
        results.map((data) => (data ? psnr(data, truth, curve) : Number.NaN)),
      );
      rows.push(row);
      for (const [i, data] of results.entries()) if (data) errors[i].push(placeError(data, bracket));
      say(name.padEnd(34) + row.map((v) => wide(v)).join(""));
    }
    const mean = rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
    say("mean".padEnd(34) + mean.map((v) => wide(v)).join(""));
    sayPlaces(errors);
    if (values.json)
      for (const [i, name] of names.entries())
        console.log(
          JSON.stringify({ name: `quality/dynamic/${name}`, psnrMu: mean[i], psnrL: mean[names.length + i] }),
        );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Where the squared error of each method lies, and what halving the differences everywhere but in the last place would give. */
function sayPlaces(errors: readonly PlacedError[][]): void {
  const areas = meanShares(errors[0].map(({ pixels }) => pixels));
  const shares = errors.map((each) => meanShares(each.map(({ squares }) => squares)));
  say("\nShare of the squared mu-law error by what the reference shows, per cent, mean over scenes");
  say(`${"".padEnd(24)}${"area".padStart(10)}${names.map((name) => name.padStart(14)).join("")}`);
  for (const [k, place] of places.entries())
    say(
      place.padEnd(24) + (100 * areas[k]).toFixed(1).padStart(10) + shares.map((each) => wide(100 * each[k])).join(""),
    );
  const halved = errors.map((each) => wide(each.length > 0 ? halvedElsewhere(each) : Number.NaN));
  say("PSNR-mu, the other rows' halved".padEnd(34) + halved.join(""));
}

/** The plain merge: hat-weighted mean in linear light; where no exposure has weight, the one that clips or drowns least. */
function plainMerge(bracket: Bracket): Float32Array {
  const { width, height, exposures } = bracket;
  const sum = new Float32Array(width * height * 3);
  const weights = new Float32Array(width * height);
  for (const { pixels, exposureValue } of exposures) {
    const codes = pixels.rows(0, height);
    const top = pixels.depth === "uint8" ? 255 : 65535;
    const table = linearTable(pixels.encoding.transfer, pixels.depth === "uint8" ? 8 : 16);
    for (let p = 0; p < width * height; p++) {
      const [r, g, b] = [codes[3 * p] / top, codes[3 * p + 1] / top, codes[3 * p + 2] / top];
      const weight = Math.max(0, Math.min(r, g, b, 1 - r, 1 - g, 1 - b)) + 1e-3 * (1 - Math.max(r, g, b)) + 1e-6;
      weights[p] += weight;
      for (let c = 0; c < 3; c++) sum[3 * p + c] += (weight * table[codes[3 * p + c]]) / 2 ** exposureValue;
    }
  }
  return sum.map((v, i) => v / weights[Math.floor(i / 3)]);
}

async function still(): Promise<void> {
  const present = staticBrackets.filter((name) => existsSync(join(data, "brackets", name, "gt_merged.hdr")));
  if (present.length === 0) return say(`skipped: static brackets (none under ${data}/brackets)`);
  say("\nStatic brackets: PSNR-mu in dB against gt_merged.hdr, each at its best scale");
  say(
    `${"bracket".padEnd(34)}  radiance     plain difference${values.model.map((name) => ` ${basename(name, ".safetensors")}`.padStart(14)).join("")}`,
  );
  for (const name of present) {
    const folder = join(data, "brackets", name);
    const scene = JSON.parse(await readFile(join(folder, "scene.json"), "utf8")) as {
      frames: { file: string; exposure_time_s: number }[];
    };
    const ev = scene.frames.map(({ exposure_time_s }) => Math.log2(exposure_time_s / scene.frames[0].exposure_time_s));
    const files = scene.frames.map(({ file }) => join(folder, file));
    const bracket = await readBracket(files, { ev, align: "none", follow });
    const asShot = await readBracket(files, { ev, align: "none", follow: "none" });
    const truth = (await readRadiance(join(folder, "gt_merged.hdr"))).data as Float32Array;
    const quality = (result: Float32Array) => {
      const scaled = normalise(truth, result);
      return psnr(fit(result, scaled), scaled, muLaw);
    };
    const ours = quality((await mergeRadiance(bracket)).data);
    const plain = quality(plainMerge(asShot));
    asShot.close();
    const learnt: number[] = [];
    for (const model of models) learnt.push(quality((await model.run(bracket)).data));
    bracket.close();
    say(`${name.padEnd(34)} ${cell(ours)} ${cell(plain)}  ${cell(ours - plain)}${learnt.map((v) => wide(v)).join("")}`);
    const others = Object.fromEntries(learnt.map((v, i) => [names[3 + i], v]));
    if (values.json)
      console.log(JSON.stringify({ name: `quality/static/${name}`, psnrMu: ours, plainMu: plain, ...others }));
  }
}

/** The repository's own bracket, three stops apart, against the truth that it was rendered from. */
async function example(): Promise<void> {
  const folder = join(root, "examples", "bracket");
  const bracket = await readBracket(
    [1, 2, 3].map((i) => join(folder, `exposure-${i}.jpg`)),
    { follow },
  );
  const truth = (await readRadiance(join(folder, "truth.hdr"))).data as Float32Array;
  const results = [(await mergeRadiance(bracket)).data];
  for (const model of models) results.push((await model.run(bracket)).data);
  bracket.close();
  say("\nThe example bracket: PSNR-mu and PSNR-l in dB");
  const clamped = (data: Float32Array) => data.map((v) => Math.min(1, Math.max(0, v)));
  for (const [i, name] of names.filter((each) => each !== "reference" && each !== "opencv").entries()) {
    const [psnrMu, psnrL] = [muLaw, undefined].map((curve) => psnr(clamped(results[i]), clamped(truth), curve));
    say(name.padEnd(34) + wide(psnrMu) + wide(psnrL));
    if (values.json) console.log(JSON.stringify({ name: `quality/example/${name}`, psnrMu, psnrL }));
  }
}

await dynamic();
await still();
await example();
