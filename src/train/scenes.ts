import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import { DEFAULT_MEMORY } from "../default-memory.js";
import { SmhdrError, throwIfAborted } from "../errors.js";
import { segmentPhotograph } from "../segment/segment-map.js";
import type { TrainConfig } from "./config.js";
import { measuresQuality } from "./curriculum.js";
import { readScene, type Scene, type SceneFiles } from "./dataset.js";
import { prepareScene } from "./prepare-scene.js";
import { mergeScene } from "./restore-scene.js";
import { streamBrackets } from "./synthesis/stream.js";
import type { SyntheticBracket } from "./synthesis/synthesize.js";

/** Where a run's scenes come from: the same number of them every epoch, always the same ones for an epoch. */
export interface SceneSet {
  readonly count: number;
  /** What must be the same when a run goes on. */
  readonly fingerprint: string;
  /** Scene `index` of an epoch; those of the last `hold` different calls are kept in memory. */
  scene(epoch: number, index: number): Promise<Scene>;
  /** How many scenes are in memory at most. */
  readonly hold: number;
  close(): Promise<void>;
}

export function needsSegments({ masks, lossWeights }: TrainConfig): boolean {
  return masks === "semantic" || lossWeights === "quality";
}

export interface SceneOptions {
  /** Whether they are for a network with a prior (prepare-scene.ts). */
  readonly prepared?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Of synthesised scenes told of the first only: the later ones are made while training goes on. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** Throws BAD_INPUT, naming `where`, for a scene that cannot be trained on with this configuration. */
export function checkScene(scene: Scene, config: TrainConfig, where = scene.name): Scene {
  const fail = (what: string): never => {
    throw new SmhdrError("BAD_INPUT", `${where}: ${what}.`);
  };
  if (scene.exposures.length !== config.exposures)
    fail(`expected ${config.exposures} exposures as the configuration says, found ${scene.exposures.length}`);
  if (scene.width < config.patch || scene.height < config.patch)
    fail(`expected at least ${config.patch}x${config.patch} pixels for a patch, got ${scene.width}x${scene.height}`);
  return scene;
}

/**
 * The scenes of a data set folder. Every one of them is read and checked once at the start.
 * @throws SmhdrError as readScene does, and BAD_INPUT for a scene without masks.npy where the configuration needs segments.
 */
export async function folderScenes(
  files: readonly SceneFiles[],
  config: TrainConfig,
  { prepared, signal, onProgress }: SceneOptions = {},
): Promise<SceneSet> {
  const hold = config.scenesAtOnce || files.length;
  const cache = new Map<number, Scene>();
  const load = async (index: number): Promise<Scene> => {
    const held = cache.get(index);
    if (held) return held;
    const read = checkScene(await readScene(files[index]), config, dirname(files[index].truth));
    const scene = prepared ? await prepareScene(read, signal) : read;
    for (const oldest of cache.keys()) if (cache.size >= hold) cache.delete(oldest);
    cache.set(index, scene);
    return scene;
  };
  for (const [index, { truth, masks }] of files.entries()) {
    throwIfAborted(signal);
    if (masks === undefined && needsSegments(config))
      throw new SmhdrError(
        "BAD_INPUT",
        `${dirname(truth)}: masks.npy is missing; make the segment maps with "smhdr segment DIR", or train with masks "random" or "none" and lossWeights "uniform".`,
      );
    await load(index);
    onProgress?.((index + 1) / files.length);
  }
  return {
    count: files.length,
    fingerprint: files.map(({ name }) => name).join("\n"),
    scene: (_epoch, index) => load(index),
    hold,
    close: async () => {},
  };
}

/** What a merge makes of photographs in which nothing moves. */
function mergeStill(
  { width, height, exposureValues, truth }: SyntheticBracket,
  exposures: readonly Uint16Array[],
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const scene = { name: "still", width, height, exposureValues, exposures, truth, segments: undefined };
  return mergeScene(scene, { align: "none", follow: "none", memory: DEFAULT_MEMORY, tile: "auto", signal });
}

/**
 * Scenes made while training goes on: new ones whenever local quality is measured, or every epoch where it never is.
 * @throws SmhdrError as streamBrackets does, when scenes are asked for.
 */
export function synthesizedScenes(
  sources: readonly string[],
  config: TrainConfig,
  { threads = availableParallelism(), prepared, signal, onProgress }: SceneOptions & { threads?: number } = {},
): SceneSet {
  const { scenes: count, size, evSpacing, response, motion, iso, truth } = config.synthesis;
  const workers = Math.max(1, threads - 1); // training has the other
  const measured = needsSegments(config);
  const generation = (epoch: number) => {
    if (!measured) return epoch - 1;
    let renewals = 0;
    for (let e = 2; e <= epoch; e++) if (measuresQuality({ epochs: config.curriculum }, e)) renewals++;
    return renewals;
  };
  let stream: AsyncGenerator<SyntheticBracket, void, undefined> | undefined;
  let nextGeneration = -1;
  let current: { readonly number: number; readonly scenes: Promise<Scene[]> } | undefined;
  let ahead: typeof current;

  const make = async (number: number): Promise<Scene[]> => {
    if (!stream || number !== nextGeneration) {
      await stream?.return();
      stream = streamBrackets({
        sources,
        options: {
          width: size,
          height: size,
          exposures: config.exposures,
          response,
          motion,
          iso,
          still: truth === "merged",
          ...(evSpacing.length > 0 && { evSpacing }),
        },
        seed: config.seed,
        workers,
        first: number * count,
        ...(signal && { signal }),
      });
    }
    const first = nextGeneration < 0;
    nextGeneration = number + 1;
    const scenes: Scene[] = [];
    while (scenes.length < count) {
      const { value } = await stream.next();
      if (!value) throw new SmhdrError("INTERNAL", "The synthesis ended early.");
      const { still, ...bracket } = value;
      const middle = bracket.exposures[config.exposures >> 1];
      const scene: Scene = {
        ...bracket,
        name: `${number}-${scenes.length}`,
        segments: measured ? segmentPhotograph(middle, size, size).ids : undefined,
        ...(still && { truth: await mergeStill(bracket, still, signal) }),
      };
      scenes.push(prepared ? await prepareScene(scene, signal) : scene);
      if (first) onProgress?.(scenes.length / count);
    }
    return scenes;
  };
  const start = (number: number) => {
    const scenes = make(number);
    scenes.catch(() => {}); // whoever awaits it gets the error
    return { number, scenes };
  };

  return {
    count,
    fingerprint: `synthesized from\n${sources.map((path) => path.split(/[/\\]/).at(-1)).join("\n")}`,
    hold: 2 * count,
    async scene(epoch, index) {
      const number = generation(epoch);
      if (current?.number !== number) {
        const begun = ahead?.number === number ? ahead : undefined;
        if (!begun) await ahead?.scenes.catch(() => {});
        current = begun ?? start(number);
        ahead = undefined;
      }
      const scenes = await current.scenes;
      // The next ones are made while these are trained on.
      ahead ??= start(number + 1);
      return checkScene(scenes[index], config);
    },
    async close() {
      // A generator that is running takes its end only after the bracket it waits for.
      await stream?.return();
    },
  };
}
