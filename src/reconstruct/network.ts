import { basename } from "node:path";
import type { Bracket, Note } from "../bracket/bracket.js";
import type { Engine } from "../engine/engine.js";
import { SmhdrError, throwIfAborted } from "../errors.js";
import type { Radiance } from "../image.js";
import { finishPicture } from "./finish.js";
import { bringHighlights } from "./highlights.js";
import { mergeRadiance } from "./radiance.js";
import type { Region } from "./region.js";
import { exposureSampler, mergeSampler, type Sampler } from "./sampler.js";
import { fade, LEAST_TILE, leastPixels, planTiles } from "./tiles.js";

/** Does the engine's work when it is this bracket's turn: brackets in work at once can share a device. */
export type Turn = <T>(work: () => Promise<T>) => Promise<T>;

export interface NetworkOptions {
  /** Bytes for the result and the work on tiles. */
  readonly memory: number;
  /** The part that `memory` is of what a person may give: errors name that. Default 1. */
  readonly share?: number | undefined;
  readonly tile: "auto" | "full" | number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
  readonly turn?: Turn | undefined;
  /** For sampling the exposures, and for the merge that a network with a prior takes; default one per processor. */
  readonly threads?: number | undefined;
  /** Called with the number of tiles before the work on them begins. */
  readonly onTiles?: ((count: number) => void) | undefined;
  /** Called when the engine's device has too little memory of its own, and what is done about it. */
  readonly onNote?: ((note: Note) => void) | undefined;
}

export interface PictureOptions extends NetworkOptions {
  /** Bytes of the memory that are taken already. Default 0. */
  readonly held?: number | undefined;
  /** Sides are padded to multiples of this, by reflection, and cut off again. Default 1. */
  readonly padding?: number | undefined;
}

export interface BracketOptions extends PictureOptions {
  /** Exposure values to count with, whose 0 is where the result's 1.0 clips; default the bracket's, of which the shortest has 0. */
  readonly exposureValues?: readonly number[] | undefined;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** What a network needs to be given. */
export interface NetworkInputs {
  readonly name: string;
  readonly exposures: number;
  /** Whether a merge without a network comes after the exposures (src/model/prior.ts). */
  readonly prior?: boolean | undefined;
}

/** The merge's part of the work, roughly. */
const MERGE_SHARE = 0.02;

/** How many stops from the reference the exposures lie at most that networks with a prior are given, where a bracket leaves a choice. */
const FARTHEST = 4.5;

/**
 * Tiles that shall fit into memory where several can be in work. The same for any number of devices: the tiles follow from it, and
 * from them the picture's bits.
 */
const TILES_IN_MEMORY = 4;

/** Side of the tiles that are not made smaller for it. */
const LEAST_SHARED_TILE = 512;

/** Of a pixel of a tile that waits to be blended. */
const RESULT_BYTES = 12;

/** Of a pixel of the picture, while its drift is taken back. */
const DRIFT_BYTES = 2;

const MIB = 1024 ** 2;
/** What the process needs besides pixels. */
const BASE_BYTES = 200 * MIB;

/**
 * Reconstructs a bracket with the network; the result's scale is the bracket's. See bracketRadiance.
 * @throws SmhdrError UNSUPPORTED for fewer exposures than the model takes, OUT_OF_MEMORY, CANCELLED.
 */
export async function reconstructNetwork(
  bracket: Bracket,
  model: NetworkInputs,
  engine: Engine,
  options: NetworkOptions,
): Promise<Radiance> {
  return {
    width: bracket.width,
    height: bracket.height,
    channels: 3,
    data: await bracketRadiance(bracket, model, engine, options),
    encoding: { transfer: "linear", primaries: bracket.exposures[0].pixels.encoding.primaries },
    metadata: {
      exposureValues: bracket.exposures.map(({ exposureValue }) => exposureValue),
      reference: bracket.reference,
      method: "network",
      model: model.name,
    },
  };
}

/**
 * What a network is given of a bracket: the chosen exposures, their samplers, by how many stops the values were shifted, and
 * the scale at which a merge of all goes with them.
 */
export function networkExposures(
  bracket: Bracket,
  model: Omit<NetworkInputs, "name">,
  exposureValues: readonly number[] = bracket.exposures.map(({ exposureValue }) => exposureValue),
  threads = 0,
): { chosen: number[]; shift: number; samplers: Sampler[]; mergeScale: number } {
  const chosen = chooseExposures(bracket, model.exposures, model.prior);
  // The network's 1.0 is where the shortest exposure it is given clips, if that of all has the value 0.
  const shift = exposureValues[chosen[0]] - exposureValues[0];
  const samplers = chosen.map((i) =>
    exposureSampler({ ...bracket.exposures[i], exposureValue: exposureValues[i] - shift }, threads),
  );
  return { chosen, shift, samplers, mergeScale: 2 ** (shift - exposureValues[0]) };
}

/**
 * A bracket's radiance by the network: the whole image at once where memory allows, else overlapping tiles that share their
 * image-wide sums and fade into each other. `model.exposures` is how many the engine takes, chosen of a longer bracket by
 * chooseExposures; a prior is merged of all, and what only exposures shorter than the chosen ones saw is the prior's.
 * @throws SmhdrError UNSUPPORTED for fewer exposures than the model takes, OUT_OF_MEMORY, CANCELLED.
 */
export async function bracketRadiance(
  bracket: Bracket,
  model: Omit<NetworkInputs, "name">,
  engine: Engine,
  options: BracketOptions,
): Promise<Float32Array> {
  throwIfAborted(options.signal);
  const { onProgress, exposureValues, threads } = options;
  const { chosen, shift, samplers, mergeScale } = networkExposures(bracket, model, exposureValues, threads);
  const held = model.prior ? bracket.width * bracket.height * (RESULT_BYTES + DRIFT_BYTES) : 0;
  // Known before the merge is made, unless another engine may have to do the work.
  if (!engine.substitute) checkRoom(bracket, engine, samplers.length + (model.prior ? 1 : 0), { ...options, held });
  let merge: Radiance | undefined;
  if (model.prior) {
    const merging = (fraction: number) => onProgress?.(fraction * MERGE_SHARE);
    merge = await mergeRadiance(bracket, { ...options, device: engine.cuda, onProgress: merging });
    samplers.push(mergeSampler(merge, mergeScale, threads));
  }
  const data = await reconstructPicture(bracket, samplers, engine, {
    ...options,
    held,
    ...(model.prior && {
      onProgress: (fraction: number) => onProgress?.(MERGE_SHARE + fraction * (1 - MERGE_SHARE)),
    }),
  });
  if (merge) {
    const exposures = chosen.map((i, at) => ({
      sampler: samplers[at],
      exposureValue: bracket.exposures[i].exposureValue,
    }));
    const reference = chosen.indexOf(bracket.reference);
    await finishPicture(data, merge, mergeScale, exposures, reference, { threads, signal: options.signal });
    if (chosen[0] > 0) bringHighlights(data, merge.data, mergeScale);
  }
  const scale = 2 ** -shift;
  if (scale !== 1) for (let i = 0; i < data.length; i++) data[i] *= scale;
  return data;
}

/**
 * The engine's radiance [height, width, 3] of what the samplers read: at once where memory allows, else in tiles. Where a device
 * with a memory of its own runs out of it, tiles become smaller, and at last its substitute does the work.
 * @throws SmhdrError OUT_OF_MEMORY, CANCELLED
 */
export async function reconstructPicture(
  { width, height }: Size,
  samplers: readonly Sampler[],
  engine: Engine,
  options: PictureOptions,
): Promise<Float32Array> {
  const size = padded({ width, height }, options);
  const picture = await reconstructPadded(size, samplers, engine, options);
  if (size.width === width && size.height === height) return picture;
  const out = new Float32Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = y * size.width * 3;
    out.set(picture.subarray(from, from + width * 3), y * width * 3);
  }
  return out;
}

function padded({ width, height }: Size, { padding = 1 }: PictureOptions): Size {
  const up = (length: number) => Math.ceil(length / padding) * padding;
  return { width: up(width), height: up(height) };
}

/** Beyond the size of the exposures the samplers reflect. */
async function reconstructPadded(
  size: Size,
  samplers: readonly Sampler[],
  engine: Engine,
  options: PictureOptions,
): Promise<Float32Array> {
  const { width, height } = size;
  const room = options.memory - bytesBesides(size, options);
  const byMemory = room / engine.bytesPerPixel(samplers.length);
  const note = (message: string) => options.onNote?.({ code: "engine", message });
  let pixelsAtOnce = Math.floor(Math.min(byMemory, engine.pixelsAtOnce?.(samplers.length) ?? byMemory));
  for (;;) {
    try {
      checkRoom(size, engine, samplers.length, { ...options, padding: 1 });
      return await reconstructTiles(size, samplers, engine, options, { pixelsAtOnce, room }).finally(() =>
        engine.clearSums(),
      );
    } catch (error) {
      if (!engine.substitute || !(error instanceof SmhdrError && error.code === "OUT_OF_MEMORY")) throw error;
      pixelsAtOnce = Math.floor(Math.min(pixelsAtOnce, width * height) / 2);
      if (options.tile !== "auto" || pixelsAtOnce < LEAST_TILE ** 2) {
        note(`${engine.device} has too little memory: the processor computes.`);
        return reconstructPadded(size, samplers, engine.substitute(), options);
      }
      note(`${engine.device} ran out of memory: it works in smaller tiles.`);
    }
  }
}

/** Bytes for all but the tiles in work. */
const bytesBesides = ({ width, height }: Size, { held = 0 }: PictureOptions) =>
  held + width * height * RESULT_BYTES + BASE_BYTES;

/** Throws OUT_OF_MEMORY where not even the smallest tile that may be taken fits, saying what would do. */
function checkRoom(picture: Size, engine: Engine, inputs: number, options: PictureOptions): void {
  const { memory, share = 1, tile } = options;
  const size = padded(picture, options);
  const needed =
    bytesBesides(size, options) + leastPixels(size.width, size.height, tile) * engine.bytesPerPixel(inputs);
  if (needed <= memory) return;
  const work = tile === "auto" ? "" : tile === "full" ? " as a whole" : ` in tiles of ${tile}`;
  const hint = tile === "auto" ? "" : " Less will do with --tile auto.";
  const [least, given] = [Math.ceil(needed / share / MIB), Math.floor(memory / share / MIB)];
  throw new SmhdrError(
    "OUT_OF_MEMORY",
    `The network needs at least ${least} MiB of memory for ${picture.width} x ${picture.height} pixels${work}; got ${given} MiB.${hint}`,
  );
}

/** How many pixels a run may have, and bytes for all that are in work. */
interface Limits {
  readonly pixelsAtOnce: number;
  readonly room: number;
}

/** As many tiles at once as the engine has use for and memory allows; they are blended in their order, whichever ends first. */
async function reconstructTiles(
  { width, height }: Size,
  samplers: readonly Sampler[],
  engine: Engine,
  { tile, signal, onProgress, turn = (work) => work(), onTiles, onNote }: NetworkOptions,
  { pixelsAtOnce, room }: Limits,
): Promise<Float32Array> {
  const { parallel = 1 } = engine;
  const pixelsInWork = room / (engine.bytesPerPixel(samplers.length) + RESULT_BYTES);
  let plan = planTiles(width, height, pixelsAtOnce, tile);
  if (plan.tiles.length > 1 && tile === "auto" && parallel > 1) {
    const shared = Math.max(pixelsInWork / TILES_IN_MEMORY, LEAST_SHARED_TILE ** 2);
    plan = planTiles(width, height, Math.min(pixelsAtOnce, shared), tile);
  }
  const { tiles, samples } = plan;
  const atOnce = Math.max(1, Math.min(parallel, Math.floor(pixelsInWork / (tiles[0].width * tiles[0].height))));
  onTiles?.(tiles.length);

  const stop = new AbortController();
  const stopped = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  /** Inputs of tiles that are done, for others, which are of the same size: fresh memory costs time. */
  const unused: Float32Array[][] = [];
  let reading: Promise<unknown> = Promise.resolve();
  const read = async (regions: readonly Region[]) => {
    const values = regions[0].width * regions[0].height * 6;
    const inputs = unused.pop() ?? samplers.map(() => new Float32Array(regions.length * values));
    for (const [s, sampler] of samplers.entries()) {
      const out = inputs[s];
      for (const [i, region] of regions.entries()) {
        throwIfAborted(stopped);
        await sampler.read(region, out.subarray(i * values, (i + 1) * values));
      }
    }
    return inputs;
  };
  /** One after another: samplers share the stores of the exposures. */
  const readInTurn = (regions: readonly Region[]) => {
    const own = reading.then(() => read(regions));
    reading = own.catch(() => {});
    return own;
  };
  const sampled = samples.reduce((sum, r) => sum + r.width * r.height, 0);
  const total = tiles.reduce((sum, r) => sum + r.width * r.height, sampled);
  let done = 0;
  const parts = new Map<readonly Region[], number>();
  const run = async (regions: readonly Region[], record: boolean) => {
    const share = regions.reduce((sum, r) => sum + r.width * r.height, 0);
    const [{ width, height }] = regions;
    const input = { exposures: await readInTurn(regions), batch: regions.length, height, width, record };
    parts.set(regions, 0);
    // A tile that another device begins anew does not go back.
    const progressed = (fraction: number) => {
      const before = parts.get(regions);
      if (before === undefined) return;
      parts.set(regions, Math.max(before, fraction * share));
      onProgress?.([...parts.values()].reduce((sum, part) => sum + part, done) / total);
    };
    const result = await turn(() => engine.run(input, { signal: stopped, onProgress: progressed, onNote }));
    parts.delete(regions);
    done += share;
    if (!record) unused.push(input.exposures);
    return result;
  };

  engine.clearSums();
  if (samples.length > 0) await run(samples, true);
  const data = new Float32Array(width * height * 3);
  const covered = coverage(tiles, { width, height });
  const running: Promise<void>[] = [];
  const ended = new Map<number, Float32Array>();
  let blended = 0;
  const one = async (index: number) => {
    ended.set(index, await run([tiles[index]], false));
    for (let result = ended.get(blended); result; result = ended.get(blended)) {
      blend(result, tiles[blended], { width, height }, data, covered);
      ended.delete(blended++);
    }
  };
  const lane = async () => {
    while (running.length < tiles.length) {
      throwIfAborted(stopped);
      const index = running.length;
      // No device gets so far ahead of another that more results wait than there is memory for.
      if (index < blended + 2 * atOnce) running.push(one(index));
      await running[index < running.length ? index : blended];
    }
  };
  let failure: unknown;
  const lanes = Array.from({ length: Math.min(atOnce, tiles.length) }, () =>
    lane().catch((error) => {
      if (!stop.signal.aborted) failure = error;
      stop.abort();
    }),
  );
  await Promise.all(lanes);
  if (stop.signal.aborted) throw failure;
  return data;
}

/** A model in words and numbers: those of the exposures that it takes, and whether it takes a merge beside them. */
export interface NetworkCounts {
  readonly name: string;
  readonly counts: readonly number[];
  readonly prior: boolean;
}

/**
 * The most exposures of this bracket that the model can take, with a prior of those numbers that reach the least beyond FARTHEST;
 * undefined where it can take none.
 */
export function bestCount(
  bracket: Bracket,
  { counts, prior }: Pick<NetworkCounts, "counts" | "prior">,
): number | undefined {
  const beyond = (count: number) =>
    prior ? Math.max(FARTHEST, ...chooseExposures(bracket, count, true).map((i) => stopsFromReference(bracket, i))) : 0;
  const possible = counts.filter((count) => canTake(bracket, count)).sort((a, b) => beyond(a) - beyond(b) || b - a);
  return possible[0];
}

function stopsFromReference({ exposures, reference }: Bracket, index: number): number {
  return Math.abs(exposures[index].exposureValue - exposures[reference].exposureValue);
}

/** What to say where a model with these counts does not use the whole bracket; undefined where it does. */
export function selectionNote(bracket: Bracket, network: NetworkCounts): Note | undefined {
  const { name, counts, prior } = network;
  const { exposures, reference } = bracket;
  const takes = `The model ${name} takes ${listed(counts, "or")} exposures with the reference in the middle`;
  const count = bestCount(bracket, network);
  if (count === exposures.length) return undefined;
  if (count === undefined) {
    const has = `${exposures.length} of which number ${reference} is the reference`;
    return { code: "method", message: `${takes}, not ${has}: merged without a network.` };
  }
  const names = chooseExposures(bracket, count, prior).map((i) => basename(exposures[i].name));
  const used = `${listed(names, "and")} ${names.length > 1 ? "are" : "is"} used`;
  const merged = prior ? ", beside the merge of all" : "";
  return { code: "selection", message: `${takes}. Of these ${exposures.length}, ${used}${merged}.` };
}

function listed(parts: readonly (string | number)[], word: string): string {
  return parts.length < 2 ? parts.join() : `${parts.slice(0, -1).join(", ")} ${word} ${parts.at(-1)}`;
}

/** How many exposures a model of `count` inputs needs on either side of the reference. */
function sides(count: number): [below: number, above: number] {
  const below = Math.floor(count / 2);
  return [below, count - below - 1];
}

/** Whether a model of `count` inputs can take this bracket: enough exposures on either side of the reference. */
function canTake({ exposures, reference }: Bracket, count: number): boolean {
  const [below, above] = sides(count);
  return reference >= below && exposures.length - 1 - reference >= above;
}

/**
 * Which exposures a model of `count` inputs gets: the reference in the middle, then outwards on both sides, evenly to the ends; with
 * a prior, which sees the whole range, no further than FARTHEST.
 * @throws SmhdrError UNSUPPORTED when there are not enough on either side of the reference.
 */
export function chooseExposures(bracket: Bracket, count: number, prior = false): number[] {
  const { exposures, reference } = bracket;
  const [below, above] = sides(count);
  if (!canTake(bracket, count)) {
    throw new SmhdrError(
      "UNSUPPORTED",
      `exposures: this model takes ${count} exposures with the reference in the middle; the bracket has ${exposures.length} and its reference is number ${reference}. Use the method "radiance".`,
    );
  }
  const reach = (n: number, direction: number) => {
    let end = reference + n * direction;
    const within = (i: number) => !prior || stopsFromReference(bracket, i) <= FARTHEST;
    while (n > 0 && exposures[end + direction] && within(end + direction)) end += direction;
    return end;
  };
  const side = (n: number, end: number) =>
    Array.from({ length: n }, (_, i) => Math.round(reference + ((i + 1) * (end - reference)) / n));
  return [...side(below, reach(below, -1)).reverse(), reference, ...side(above, reach(above, 1))];
}

/** What the fading tiles over every column and every row weigh together. Tiles are a grid: of a pixel that is the product. */
interface Coverage {
  readonly across: Float32Array;
  readonly down: Float32Array;
}

function coverage(tiles: readonly Region[], { width, height }: Size): Coverage {
  const sums = (spans: Map<number, number>, length: number) => {
    const out = new Float32Array(length);
    for (const [start, size] of spans)
      for (let at = start; at < Math.min(start + size, length); at++) out[at] += fade(at, start, size, length);
    return out;
  };
  return {
    across: sums(new Map(tiles.map((tile) => [tile.x, tile.width])), width),
    down: sums(new Map(tiles.map((tile) => [tile.y, tile.height])), height),
  };
}

/** Adds a tile to the picture, faded towards its neighbours. */
function blend(
  tile: Float32Array,
  region: Region,
  { width, height }: Size,
  data: Float32Array,
  covered: Coverage,
): void {
  const right = Math.min(region.x + region.width, width);
  const bottom = Math.min(region.y + region.height, height);
  const ramp = Float32Array.from(
    { length: right - region.x },
    (_, i) => fade(region.x + i, region.x, region.width, width) / covered.across[region.x + i],
  );
  // Columns [left, end) are the tile's alone.
  const left = Math.max(0, ramp.indexOf(1));
  const end = Math.max(left, ramp.lastIndexOf(1) + 1);
  for (let y = region.y; y < bottom; y++) {
    const rowWeight = fade(y, region.y, region.height, height) / covered.down[y];
    const from = (y - region.y) * region.width * 3;
    const to = (y * width + region.x) * 3;
    const add = (first: number, last: number) => {
      for (let i = first; i < last; i++)
        for (let c = 3 * i; c < 3 * i + 3; c++) data[to + c] += rowWeight * ramp[i] * tile[from + c];
    };
    if (rowWeight === 1) {
      add(0, left);
      data.set(tile.subarray(from + 3 * left, from + 3 * end), to + 3 * left);
      add(end, ramp.length);
    } else add(0, ramp.length);
  }
}
