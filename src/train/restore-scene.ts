import type { Bracket, Note } from "../bracket/bracket.js";
import { bracketFromImages } from "../bracket/read-bracket.js";
import { linearTable } from "../bracket/transfer.js";
import { SmhdrError } from "../errors.js";
import type { LoadedNetwork } from "../reconstruct/loaded-network.js";
import { bestCount, bracketRadiance, type NetworkOptions, selectionNote } from "../reconstruct/network.js";
import { radianceScale } from "../reconstruct/network-input.js";
import { mergeRadiance } from "../reconstruct/radiance.js";
import type { Scene } from "./dataset.js";

// A scene's radiance by one method or another, on the scale of its truth: exposure values are used as they stand in the
// file, where the rest of the product counts them from the shortest.

/** Sides are padded to multiples of this by reflection, as for the published figures (method.md section 2). */
const PADDING = 128;
const encoding = { transfer: "gamma2.2", primaries: "srgb" } as const;

export interface RestoreOptions {
  readonly align: "auto" | "none";
  readonly follow: "auto" | "none";
  /** Bytes for the work on a scene. */
  readonly memory: number;
  readonly tile: NetworkOptions["tile"];
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
  readonly onNote?: ((note: Note) => void) | undefined;
}

/** H = I^2.2 / (2^EV + 1e-8) of the reference exposure, floor(n / 2), alone. */
export function referenceAlone({ exposures, exposureValues }: Scene): Float32Array {
  const reference = exposures.length >> 1;
  const linear = linearTable(encoding.transfer, 16);
  const scale = radianceScale(exposureValues[reference]);
  return Float32Array.from(exposures[reference], (code) => linear[code] * scale);
}

/** The radiance merge. Throws as mergeRadiance, and BAD_INPUT where the exposures are not sorted. */
export async function mergeScene(scene: Scene, options: RestoreOptions): Promise<Float32Array> {
  const bracket = await bracketOf(scene, options);
  try {
    return await mergeBracket(bracket, scene.exposureValues, options);
  } finally {
    bracket.close();
  }
}

/** The merge of a scene's bracket, on the scale of its exposure values. Throws as mergeRadiance. */
export async function mergeBracket(
  bracket: Bracket,
  exposureValues: readonly number[],
  options: Parameters<typeof mergeRadiance>[1],
): Promise<Float32Array> {
  const { data } = await mergeRadiance(bracket, options);
  const scale = 2 ** -exposureValues[0];
  return scale === 1 ? data : data.map((value) => value * scale);
}

/**
 * A model's radiance: padded to multiples of 128 by reflection, reconstructed at once where memory allows, cropped.
 * @throws SmhdrError UNSUPPORTED where the model cannot take so many exposures, BAD_INPUT where they are not sorted,
 * OUT_OF_MEMORY, CANCELLED
 */
export async function restoreByNetwork(
  scene: Scene,
  network: LoadedNetwork,
  options: RestoreOptions,
): Promise<Float32Array> {
  const { name, exposureValues } = scene;
  const bracket = await bracketOf(scene, options);
  try {
    const count = bestCount(bracket, network);
    if (count === undefined)
      throw new SmhdrError(
        "UNSUPPORTED",
        `${name}: the model ${network.name} takes ${network.counts.join(", ")} exposures; the scene has ${scene.exposures.length}.`,
      );
    const note = selectionNote(bracket, network);
    if (note) options.onNote?.(note);
    const onTiles = (tiles: number) => {
      if (tiles === 1) return;
      const message = `${name} does not fit the memory limit whole and was worked in ${tiles} tiles, which changes figures a little.`;
      options.onNote?.({ code: "tiles", message });
    };
    const inputs = { exposures: count, prior: network.prior };
    return await bracketRadiance(bracket, inputs, await network.engineFor(count), {
      ...options,
      onTiles,
      exposureValues,
      padding: PADDING,
    });
  } finally {
    bracket.close();
  }
}

/** The bracket that a scene's exposures are. Throws BAD_INPUT where they are not sorted; else as bracketFromImages. */
export async function bracketOf(
  scene: Scene,
  { align, follow, signal }: Pick<RestoreOptions, "align" | "follow" | "signal">,
): Promise<Bracket> {
  const { width, height, exposures, exposureValues, name } = scene;
  const descent = exposureValues.findIndex((ev, i) => i > 0 && ev < exposureValues[i - 1]);
  if (descent > 0)
    throw new SmhdrError(
      "BAD_INPUT",
      `${name}: expected exposures from the shortest to the longest; number ${descent} has ${exposureValues[descent]} EV after ${exposureValues[descent - 1]}.`,
    );
  const images = exposures.map((data) => ({ width, height, channels: 3, data, encoding }));
  return bracketFromImages(images, { ev: exposureValues, align, follow, signal });
}
