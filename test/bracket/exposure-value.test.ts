import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { decodePhotograph, readHeader } from "../../src/bracket/decode.js";
import { countLevels, estimateRatios, orderByLight } from "../../src/bracket/exposure-ratio.js";
import { type Candidate, findExposureValues } from "../../src/bracket/exposure-value.js";
import { ProxyBuilder } from "../../src/bracket/proxy.js";
import { readBracket } from "../../src/bracket/read-bracket.js";
import { hasAddon } from "../../src/engine/addon.js";
import { HEIGHT, photograph, type Shot, shoot, WIDTH } from "./photographs.js";

function proxyOf(shot: Shot) {
  const builder = new ProxyBuilder(WIDTH, HEIGHT, { transfer: "srgb", primaries: "srgb" });
  builder.add(Uint8Array.from(shoot(shot), (v) => Math.round(255 * v)));
  return builder.finish();
}

const near = (got: number, wanted: number, by: number) =>
  assert.ok(Math.abs(got - wanted) <= by, `${got} is not within ${by} of ${wanted}`);

async function valuesOf(shots: readonly Shot[], options: { ev?: readonly number[] } = {}) {
  const files = await Promise.all(shots.map((shot) => photograph(shot)));
  const bracket = await readBracket(files, { align: "none", ...options });
  bracket.close();
  return {
    values: bracket.exposures.map((exposure) => exposure.exposureValue),
    names: bracket.exposures.map((exposure) => exposure.name),
    sources: new Set(bracket.exposures.map((exposure) => exposure.exposureSource)),
    notes: bracket.notes,
  };
}

describe("ratios from pixels alone", () => {
  for (const contrast of [0, 0.35, 0.7]) {
    for (const step of [1, 2, 3]) {
      it(`${step} stops with a tone curve of strength ${contrast}`, () => {
        const { stops } = estimateRatios([0, 1, 2].map((i) => proxyOf({ stops: i * step - 2, contrast })));
        for (const estimate of stops) near(estimate, step, 0.2 * step);
      });
    }
  }

  it("a moved camera changes little", () => {
    const still = estimateRatios([proxyOf({ stops: 0 }), proxyOf({ stops: 2 })]).stops[0];
    near(estimateRatios([proxyOf({ stops: 0 }), proxyOf({ stops: 2, shift: 5 })]).stops[0], still, 0.15);
  });

  it("a linear scene is told as linear, and nothing in common as nothing", () => {
    near(estimateRatios([proxyOf({ stops: -2 }), proxyOf({ stops: 0 })]).toneCurve, 0, 0.3);
    assert.deepEqual(estimateRatios([proxyOf({ stops: -30 }), proxyOf({ stops: 0 })]).stops, [Number.NaN]);
  });

  it("with and without the addon the levels are counted the same", (t) => {
    if (!hasAddon()) return t.skip("no addon here");
    const light = Float32Array.from({ length: 300_000 }, (_, i) => ((i * 40503) % 65537) / 60000 - 0.02);
    light.set([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 1, 1e-40], 9);
    assert.deepEqual(countLevels(light), countLevels(light, null));
  });

  it("the order is found", () => {
    assert.deepEqual(orderByLight([2, -1, 1, 0].map((stops) => proxyOf({ stops }))), [1, 3, 2, 0]);
  });
});

describe("exposure values of a bracket", () => {
  it("come from time, ISO and f-number together", async () => {
    const { values, names, sources, notes } = await valuesOf([
      { stops: 2, time: "1/25", iso: 200, fNumber: "56/10" }, // 8 times the light of the second by time and ISO
      { stops: -1, time: "1/100", iso: 100, fNumber: "56/10" },
      { stops: 1, time: "1/100", iso: 100, fNumber: "28/10" },
    ]);
    assert.deepEqual(names, ["image 2", "image 3", "image 1"]);
    for (const [i, wanted] of [0, 2, 3].entries()) near(values[i], wanted, 1e-9);
    assert.deepEqual([...sources], ["exif"]);
    assert.deepEqual(notes, []);
  });

  it("are whole where the times are", async () => {
    const shots = ["1/400", "1/50", "16/100"].map((time, i) => ({ stops: 3 * i - 4, time })); // log2 says 3.000000000000001
    const { values, sources } = await valuesOf(shots);
    assert.deepEqual([...sources], ["exif"]);
    assert.deepEqual(values, [0, 3, 6]);
  });

  it("are estimated, and said so, where no time is stored", async () => {
    const { values, sources, notes } = await valuesOf([{ stops: 2 }, { stops: -2 }, { stops: 0 }]);
    for (const [i, wanted] of [0, 2, 4].entries()) near(values[i], wanted, 0.4);
    assert.deepEqual([...sources], ["estimated"]);
    assert.deepEqual(
      notes.map((note) => note.code),
      ["no-exposure-metadata"],
    );
  });

  it("are estimated where only some photographs store a time", async () => {
    const { sources } = await valuesOf([{ stops: -2, time: "1/100" }, { stops: 0 }]);
    assert.deepEqual([...sources], ["estimated"]);
  });

  // What metadata claims, against 2 stops between neighbours; copied tags, half and double steps, a swap.
  for (const [name, times] of Object.entries({
    "equal times": ["1/100", "1/100", "1/100"],
    "half the steps": ["1/100", "1/50", "1/25"],
    "double the steps": ["1/1600", "1/100", "16/100"],
    "one wrong": ["1/100", "1/25", "1/25"],
    "the wrong order": ["4/25", "1/25", "1/100"],
  })) {
    for (const contrast of [0, 0.7]) {
      it(`are estimated where pixels deny the metadata: ${name}, contrast ${contrast}`, async () => {
        const shots = times.map((time, i) => ({ stops: 2 * i - 2, time, contrast }));
        const { values, names, sources, notes } = await valuesOf(shots);
        assert.deepEqual([...sources], ["estimated"]);
        assert.deepEqual(names, ["image 1", "image 2", "image 3"]);
        for (const [i, wanted] of [0, 2, 4].entries()) near(values[i], wanted, 0.8);
        assert.deepEqual(
          notes.map((note) => note.code),
          ["stated-values-denied"],
        );
      });
    }
  }

  it("are trusted where a tone curve bends the pixels' ratios", async () => {
    for (const contrast of [0, 0.35, 0.7]) {
      for (const step of [1, 2, 3]) {
        const times = [0, 1, 2].map((i) => `${2 ** (step * i)}/500`);
        const { sources } = await valuesOf(times.map((time, i) => ({ stops: (i - 1) * step, time, contrast })));
        assert.deepEqual([...sources], ["exif"], `step ${step}, contrast ${contrast}`);
      }
    }
  });

  it("that were given are used, with a note where the pixels deny them", async () => {
    const shots = [{ stops: 0 }, { stops: 2 }];
    const fine = await valuesOf(shots, { ev: [3, 5] });
    assert.deepEqual([fine.values, fine.notes], [[0, 2], []]);
    const doubtful = await valuesOf(shots, { ev: [0, 5] });
    assert.deepEqual(doubtful.values, [0, 5]);
    assert.deepEqual(
      doubtful.notes.map((note) => note.code),
      ["given-values-doubtful"],
    );
  });

  it("may be equal, which is said", async () => {
    const shots = ["1/100", "1/100", "1/25"].map((time, i) => ({ stops: i === 2 ? 2 : 0, time }));
    for (const { values, notes } of [await valuesOf(shots), await valuesOf(shots, { ev: [0, 0, 2] })]) {
      assert.deepEqual(values.map(Math.round), [0, 0, 2]);
      assert.deepEqual(
        notes.map((note) => note.code),
        ["equal-exposures"],
      );
    }
  });

  it("cannot be told where nothing is well exposed twice", async () => {
    await assert.rejects(valuesOf([{ stops: -30 }, { stops: 0 }]), { code: "BAD_INPUT", message: /exposure values/ });
  });
});

const root = join(process.env.SMHDR_DATA ?? "../shared/data", "brackets");
describe("real brackets", { skip: !existsSync(root) && `no data in ${root}` }, () => {
  for (const scene of existsSync(root) ? readdirSync(root) : []) {
    it(scene, async (context) => {
      const { frames } = JSON.parse(readFileSync(join(root, scene, "scene.json"), "utf8"));
      const times: number[] = frames.map((frame: { exposure_time_s: number }) => frame.exposure_time_s);
      const truth = times.map((time) => Math.log2(time / times[0]));
      // Shuffled: odd files first.
      const shuffled = frames.map((_: unknown, i: number) => i).sort((a: number, b: number) => (b % 2) - (a % 2));
      const candidates: Candidate[] = [];
      for (const i of shuffled) {
        const header = await readHeader(join(root, scene, frames[i].file), frames[i].file);
        const { pixels, proxy } = await decodePhotograph(header, false);
        pixels.close();
        candidates.push({ name: header.name, settings: header.settings, proxy });
      }
      const found = findExposureValues(candidates);
      assert.deepEqual(
        found.order.map((index) => candidates[index].name),
        frames.map((frame: { file: string }) => frame.file),
        "the order is found",
      );
      if (found.source === "exif") {
        for (const [i, value] of found.values.entries()) near(value, truth[i], 0.01);
        assert.deepEqual(found.notes, [], "no false alarm");
      }
      // From pixels alone, whatever the metadata says.
      const { stops, toneCurve } = estimateRatios(found.order.map((index) => candidates[index].proxy));
      const errors = stops.map((stop, i) => stop - (truth[i + 1] - truth[i]));
      context.diagnostic(`tone curve ${toneCurve}, errors in stops ${errors.map((e) => e.toFixed(2)).join(" ")}`);
      for (const [i, error] of errors.entries()) near(error, 0, 0.25 + 0.2 * (truth[i + 1] - truth[i]));
      // Given true values raise no doubt.
      const given = shuffled.map((i: number) => truth[i]);
      assert.deepEqual(findExposureValues(candidates, given).notes, []);
    });
  }
});
