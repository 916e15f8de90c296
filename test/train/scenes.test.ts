import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { makeConfig } from "../../src/train/config.js";
import type { Scene } from "../../src/train/dataset.js";
import { synthesizedScenes } from "../../src/train/scenes.js";
import { writeSources } from "./training-set.js";

let folder: string;
let sources: string[];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-scenes-"));
  sources = await writeSources(folder);
});
after(() => rm(folder, { recursive: true, force: true }));

async function scenes(response: number, truth: "scene" | "merged"): Promise<Scene[]> {
  const synthesis = { scenes: 4, size: 64, evSpacing: [2], response, motion: 0.9, truth };
  const set = synthesizedScenes(sources, makeConfig({ preset: "tiny", synthesis }), { threads: 1 });
  try {
    const made: Scene[] = [];
    while (made.length < 4) made.push(await set.scene(1, made.length));
    return made;
  } finally {
    await set.close();
  }
}

/** The mean difference in stops of what is neither black nor clipped. */
function stopsApart(a: readonly Scene[], b: readonly Scene[]): number {
  const stops = a.flatMap(({ truth }, i) =>
    [...truth].flatMap((value, k) => (value > 0.01 && value < 0.9 ? [Math.abs(Math.log2(b[i].truth[k] / value))] : [])),
  );
  return stops.reduce((sum, value) => sum + value, 0) / stops.length;
}

test("a merged truth is the scene's where the camera's curve is the one that is read, else what that curve makes of it", async () => {
  const [scene, merged] = [await scenes(0, "scene"), await scenes(0, "merged")];
  for (const [i, { exposures }] of merged.entries())
    for (const [e, codes] of exposures.entries())
      assert.ok(codes.every((code, k) => code === scene[i].exposures[e][k]));
  const same = stopsApart(scene, merged);
  const curved = stopsApart(await scenes(1, "scene"), await scenes(1, "merged"));
  assert.ok(same < 0.01, `${same} stops`);
  assert.ok(curved > 0.1, `${curved} stops`);
});
