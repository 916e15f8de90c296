import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import sharp from "sharp";
import { readRadiance } from "../codec/read-radiance.js";
import { SmhdrError, unreadable } from "../errors.js";
import { decodeNpy } from "../segment/npy.js";

export type Split = "Training" | "Test";

/** A scene's files, found but not yet read. */
export interface SceneFiles {
  /** Path below the split's folder. */
  readonly name: string;
  /** Photographs, shortest first (sorted by name). */
  readonly exposures: readonly string[];
  readonly exposureValues: string;
  readonly truth: string;
  /** masks.npy, where there is one. */
  readonly masks: string | undefined;
}

/** A scene in memory. */
export interface Scene {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** As they stand in the file, in stops. */
  readonly exposureValues: readonly number[];
  /** Codes 0 .. 65535, interleaved RGB, shortest first. */
  readonly exposures: readonly Uint16Array[];
  /** Linear RGB in [0, 1], 1.0 where the shortest exposure clips. */
  readonly truth: Float32Array;
  /** Segment id of each pixel. */
  readonly segments: Float32Array | undefined;
  /** For networks with a prior: the merge without a network, like the truth (prepare-scene.ts). */
  readonly merge?: Float32Array | undefined;
}

// Kalantari's and Tel's names first, then Prabhakar's.
const truthNames = ["HDRImg.hdr", "ref_hdr_aligned.hdr", "ref_hdr.hdr"];
const exposureNames = ["exposure.txt", "input_exp.txt"];

/**
 * Finds the scenes of a data set: every folder below `directory`/`split` that holds .tif files, however deep, sorted by name.
 * @throws SmhdrError IO where a folder cannot be read, BAD_INPUT where there is no such split, no scene or one lacks a file.
 */
export async function findScenes(directory: string, split: Split): Promise<SceneFiles[]> {
  if (!(await splitsOf(directory)).includes(split))
    throw new SmhdrError("BAD_INPUT", `${directory}: expected a data set with a folder ${split}.`);
  const root = join(directory, split);
  const scenes: SceneFiles[] = [];
  const visit = async (folder: string): Promise<void> => {
    const entries = await readdir(folder, { withFileTypes: true }).catch((error: Error) => {
      throw unreadable(folder, error);
    });
    const names = entries
      .filter((entry) => !entry.isDirectory() && !entry.name.startsWith("."))
      .map((entry) => entry.name);
    const photographs = names.filter((name) => /\.tiff?$/i.test(name)).sort();
    if (photographs.length > 0) scenes.push(describe(root, folder, names, photographs));
    const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith("."));
    for (const name of folders.map((entry) => entry.name).sort()) await visit(join(folder, name));
  };
  await visit(root);
  if (scenes.length === 0)
    throw new SmhdrError("BAD_INPUT", `${root}: no scene found; expected folders with .tif exposures.`);
  return scenes;
}

/** Which of Training and Test a folder holds. Throws IO where there is no such folder. */
export async function splitsOf(directory: string): Promise<Split[]> {
  await stat(directory).catch((error) => {
    throw unreadable(directory, error);
  });
  const isFolder = async (split: Split) =>
    (await stat(join(directory, split)).catch(() => undefined))?.isDirectory() ?? false;
  const splits: Split[] = [];
  for (const split of ["Training", "Test"] as const) if (await isFolder(split)) splits.push(split);
  return splits;
}

function describe(root: string, folder: string, names: readonly string[], photographs: readonly string[]): SceneFiles {
  const pick = (what: string, candidates: readonly string[]) => {
    const found = candidates.find((name) => names.includes(name));
    if (!found)
      throw new SmhdrError("BAD_INPUT", `${folder}: ${what} is missing; expected ${candidates.join(" or ")}.`);
    return join(folder, found);
  };
  // Prabhakar's scenes hold the exposures twice, as taken and aligned.
  const aligned = photographs.filter((name) => /_aligned\.tiff?$/i.test(name));
  const chosen = aligned.length > 0 ? aligned : photographs;
  if (chosen.length < 2)
    throw new SmhdrError("BAD_INPUT", `${folder}: expected at least two .tif exposures, found ${chosen.length}.`);
  return {
    name: relative(root, folder) || basename(folder),
    exposures: chosen.map((name) => join(folder, name)),
    exposureValues: pick("the list of exposure values", exposureNames),
    truth: pick("the HDR truth", truthNames),
    masks: names.includes("masks.npy") ? join(folder, "masks.npy") : undefined,
  };
}

/**
 * Reads a scene.
 * @throws SmhdrError IO or BAD_INPUT, naming the file: unreadable, sizes that differ, exposure values that are not one finite number
 * per exposure, truth that is negative or not finite, masks of another size.
 */
export async function readScene(files: SceneFiles): Promise<Scene> {
  const exposureValues = parseExposureValues(
    (await read(files.exposureValues)).toString("utf8"),
    files.exposureValues,
    files.exposures.length,
  );
  const photographs = await Promise.all(files.exposures.map(readPhotograph));
  const { width, height } = photographs[0];
  const expectSize = (path: string, w: number, h: number) => {
    if (w !== width || h !== height)
      throw new SmhdrError(
        "BAD_INPUT",
        `${path}: expected ${width}x${height} pixels as ${files.exposures[0]} has, got ${w}x${h}.`,
      );
  };
  photographs.forEach((photograph, i) => {
    expectSize(files.exposures[i], photograph.width, photograph.height);
  });
  const truth = await readRadiance(files.truth);
  expectSize(files.truth, truth.width, truth.height);
  const radiance = truth.data as Float32Array;
  for (let i = 0; i < radiance.length; i++) {
    if (!(radiance[i] >= 0 && radiance[i] < Infinity)) {
      const p = Math.floor(i / 3);
      throw new SmhdrError(
        "BAD_INPUT",
        `${files.truth}: expected finite radiance of 0 or more, got ${radiance[i]} at pixel (${p % width}, ${Math.floor(p / width)}).`,
      );
    }
  }
  return {
    name: files.name,
    width,
    height,
    exposureValues,
    exposures: photographs.map((photograph) => photograph.codes),
    truth: radiance,
    segments: files.masks === undefined ? undefined : await readMasks(files.masks, width, height),
  };
}

async function read(path: string): Promise<Buffer> {
  return readFile(path).catch((error: Error) => {
    throw unreadable(path, error);
  });
}

/** No bracket spans more stops. */
const MOST_STOPS = 40;

/** The values of an exposure.txt: `count` of them. Throws BAD_INPUT, naming `path`. */
export function parseExposureValues(text: string, path: string, count: number): number[] {
  const words = text.split(/[\s,]+/).filter((word) => word !== "");
  const values = words.map(Number);
  const wrong = words.find((_, i) => !Number.isFinite(values[i]));
  if (wrong !== undefined)
    throw new SmhdrError(
      "BAD_INPUT",
      `${path}: expected one exposure value in stops per line, got "${wrong.slice(0, 40)}".`,
    );
  if (values.length !== count)
    throw new SmhdrError(
      "BAD_INPUT",
      `${path}: expected ${count} exposure values, one for each .tif, got ${values.length}.`,
    );
  const far = values.find((value) => !(Math.abs(value - values[0]) <= MOST_STOPS));
  if (far !== undefined)
    throw new SmhdrError(
      "BAD_INPUT",
      `${path}: expected exposure values in stops, at most ${MOST_STOPS} apart, got ${values[0]} and ${far}.`,
    );
  return values;
}

/** Codes 0 .. 65535 of an 8- or 16-bit RGB file. Throws IO or BAD_INPUT, naming it. */
export async function readPhotograph(path: string): Promise<{ width: number; height: number; codes: Uint16Array }> {
  const bytes = await read(path);
  try {
    const image = sharp(bytes, { failOn: "error" });
    const { depth, channels } = await image.metadata();
    if ((depth !== "ushort" && depth !== "uchar") || channels < 3)
      throw new SmhdrError("BAD_INPUT", `${path}: expected 8- or 16-bit RGB, got ${channels} channels of ${depth}.`);
    const eight = depth === "uchar";
    const { data, info } = await image
      .removeAlpha()
      .toColourspace(eight ? "srgb" : "rgb16")
      .raw({ depth: eight ? "uchar" : "ushort" })
      .toBuffer({ resolveWithObject: true });
    const codes = eight
      ? Uint16Array.from(data, (v) => v * 257)
      : new Uint16Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
    return { width: info.width, height: info.height, codes };
  } catch (error) {
    if (error instanceof SmhdrError) throw error;
    throw new SmhdrError("BAD_INPUT", `${path}: cannot be decoded (${(error as Error).message}).`, { cause: error });
  }
}

async function readMasks(path: string, width: number, height: number): Promise<Float32Array> {
  const bytes = await read(path);
  let array: ReturnType<typeof decodeNpy>;
  try {
    array = decodeNpy(bytes);
  } catch (error) {
    if (error instanceof SmhdrError) throw new SmhdrError(error.code, `${path}: ${error.message}`, { cause: error });
    throw error;
  }
  const [h, w, channels = 1] = array.shape;
  if (array.shape.length < 2 || array.shape.length > 3 || h !== height || w !== width || channels !== 1)
    throw new SmhdrError(
      "BAD_INPUT",
      `${path}: expected shape (${height}, ${width}, 1) as the exposures have, got (${array.shape.slice(0, 8).join(", ")}).`,
    );
  const ids = array.data instanceof Float32Array ? array.data : Float32Array.from(array.data);
  if (!ids.every(Number.isFinite)) throw new SmhdrError("BAD_INPUT", `${path}: expected finite segment ids.`);
  return ids;
}
