import { join } from "node:path";
import { writeRadianceHdr } from "../../src/output/write-radiance-hdr.js";
import { segmentPhotograph } from "../../src/segment/segment-map.js";
import { makeConfig, type TrainConfig } from "../../src/train/config.js";
import { synthesizeBracket } from "../../src/train/synthesis/synthesize.js";
import { writeScene } from "../../src/train/write-scene.js";
import { madeUpSources } from "./sources.js";

export const sceneWidth = 72;
export const sceneHeight = 56;

/** Writes three scenes to train on and one to validate on, rendered from made-up HDR images. */
export async function writeTrainingSet(directory: string): Promise<void> {
  const options = { width: sceneWidth, height: sceneHeight, exposures: 3, evSpacing: [2], bits: 16 as const };
  for (const [i, folder] of ["Training/a", "Training/b", "Training/c", "Test/d"].entries()) {
    const bracket = synthesizeBracket(madeUpSources, options, 20 + i);
    const segments = segmentPhotograph(bracket.exposures[1], sceneWidth, sceneHeight, 100 * i);
    await writeScene(join(directory, folder), bracket, segments);
  }
}

/** The made-up HDR images as files. */
export async function writeSources(directory: string): Promise<string[]> {
  const paths: string[] = [];
  for (const { name, width, height, data } of madeUpSources) {
    paths.push(join(directory, `${name}.hdr`));
    await writeRadianceHdr(
      { width, height, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" }, metadata: {} },
      paths[paths.length - 1],
    );
  }
  return paths;
}

/** The preset tiny, seven epochs of three steps, with drop path so that every random state counts. */
export function tinyConfig(changes: Partial<TrainConfig> = {}): TrainConfig {
  return makeConfig(
    {
      curriculum: { plain: 5, rising: 1, falling: 1 },
      dropPath: 0.2,
      validation: { every: 3, scenes: 1 },
      checkpointMinutes: 1000,
      ...changes,
    },
    "tiny",
  );
}
