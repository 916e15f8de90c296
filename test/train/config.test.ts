import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SmhdrError } from "../../src/errors.js";
import { begunConfig, configDifference, makeConfig, readConfig } from "../../src/train/config.js";
import { presets } from "../../src/train/presets.js";

const refuses =
  (...patterns: RegExp[]) =>
  (error: unknown) => {
    assert.ok(error instanceof SmhdrError && error.code === "INVALID_ARGUMENT", String(error));
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  };

test("the preset paper is the published schedule", () => {
  const { network, curriculum, rate, adam, batch, patch, patchesPerScene, dropPath, perceptualWeight } = presets.paper;
  assert.deepEqual(network, { width: 60, stages: 4, blocks: 6, heads: 6, outputBias: null, prior: false });
  assert.deepEqual(curriculum, { plain: 300, rising: 50, falling: 50, peakRatio: 0.9, changing: true });
  assert.deepEqual(rate, { from: 5e-4, to: 5e-5, warmUp: 0 });
  assert.deepEqual(adam, { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
  assert.deepEqual([batch, patch, patchesPerScene, dropPath, perceptualWeight], [8, 128, 100, 0.1, 0.005]);
});

test("a run that was begun before there were some keys goes on without what they do", () => {
  const { ownWeight, gateWeight, synthesis, ...older } = presets.small;
  const { truth, ...fewer } = synthesis;
  assert.ok(ownWeight > 0 && gateWeight > 0 && truth === "merged");
  assert.deepEqual(begunConfig({ ...older, synthesis: fewer }, "config.json"), {
    ...{ ...older, ownWeight: 0, gateWeight: 0 },
    synthesis: { ...fewer, truth: "scene" },
  });
  assert.deepEqual(begunConfig(presets.small, "config.json"), presets.small);
  for (const wrong of [[], null, "small"])
    assert.throws(() => begunConfig(wrong, "config.json"), refuses(/config\.json: expected an object/));
});

test("every preset is a valid configuration, and keeps the curriculum's shape", () => {
  for (const name of Object.keys(presets) as (keyof typeof presets)[]) {
    assert.deepEqual(makeConfig({}, name), presets[name]);
    const { plain, rising, falling } = presets[name].curriculum;
    if (presets[name].masks === "none") assert.deepEqual([rising, falling], [0, 0], name);
    else assert.deepEqual([plain / rising, falling / rising], [6, 1], name);
  }
  assert.deepEqual(makeConfig(), presets.small);
  assert.deepEqual(makeConfig({ preset: "tiny", batch: 3 }), { ...presets.tiny, batch: 3 });
  assert.deepEqual(makeConfig({ network: { width: 36 } }).network, { ...presets.small.network, width: 36 });
  // What config.json holds reads back as itself.
  const config = makeConfig({ seed: 9, trained: ["conv_first."] }, "paper");
  assert.deepEqual(makeConfig(JSON.parse(JSON.stringify(config))), config);
});

test("unknown keys and values out of range are refused, naming them", () => {
  assert.throws(() => makeConfig({ batchSize: 4 }, undefined, "c.json"), refuses(/^c\.json: /, /batchSize/, /batch,/));
  assert.throws(() => makeConfig({ network: { depth: 4 } }), refuses(/network\.depth/, /width, stages/));
  assert.throws(() => makeConfig({ toString: 4 }), refuses(/toString/));
  assert.throws(() => makeConfig({ preset: "large" }), refuses(/preset/, /paper, small, tiny/));
  assert.throws(() => makeConfig({ network: 4 }), refuses(/network: expected an object/));
  assert.throws(() => makeConfig([]), refuses(/expected an object/));
  for (const [change, pattern] of [
    [{ batch: 0 }, /batch: expected a whole number from 1/],
    [{ batch: 2.5 }, /2\.5/],
    [{ batch: "8" }, /"8"/],
    [{ dropPath: 1 }, /dropPath/],
    [{ patch: 100 }, /patch: expected a multiple of 8/],
    [{ patch: 512 }, /synthesis\.size/],
    [{ masks: "all" }, /semantic, random, none/],
    [{ augmentation: { flips: 1 } }, /augmentation\.flips: expected true or false/],
    [{ network: { heads: 7 } }, /a divisor of the width 24/],
    [{ gateWeight: -1 }, /gateWeight/],
    [{ rate: { to: 0.5 } }, /rate\.to/],
    [{ curriculum: { plain: 0, rising: 0, falling: 0 } }, /at least one epoch/],
    [{ trained: "conv_first" }, /trained: expected a list of names/],
    [{ synthesis: { evSpacing: [0] } }, /evSpacing/],
    [{ synthesis: { iso: [6400, 100] } }, /iso/],
    [{ synthesis: { iso: [100] } }, /iso/],
    [{ seed: -1 }, /seed/],
  ] as const)
    assert.throws(() => makeConfig(change), refuses(pattern), JSON.stringify(change));
});

test("differences that change the result are found, others are not", () => {
  const config = makeConfig();
  assert.equal(configDifference(config, makeConfig({ checkpointMinutes: 1, validation: { every: 9 } })), undefined);
  assert.equal(configDifference(config, makeConfig({ rate: { warmUp: 1 } })), "rate.warmUp (200, not 1)");
  assert.match(configDifference(config, makeConfig({ trained: ["x"] })) ?? "", /^trained/);
});

test("configuration files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "smhdr-config-"));
  try {
    const path = join(folder, "c.json");
    await writeFile(path, '{ "preset": "tiny", "seed": 5 }');
    assert.deepEqual(await readConfig(path), { ...presets.tiny, seed: 5 });
    assert.deepEqual(await readConfig(path, "paper"), { ...presets.paper, seed: 5 });
    await writeFile(path, "{ seed");
    await assert.rejects(
      readConfig(path),
      (error) =>
        error instanceof SmhdrError && error.code === "BAD_INPUT" && /c\.json: is not JSON/.test(error.message),
    );
    await assert.rejects(
      readConfig(join(folder, "none.json")),
      (error) => error instanceof SmhdrError && error.code === "IO" && /none\.json/.test(error.message),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});
