import { mergePixel, radianceScale } from "../reconstruct/network-input.js";
import type { TrainConfig } from "./config.js";
import type { Scene } from "./dataset.js";
import { Random } from "./synthesis/random.js";

/** Independent random sequences of one run. */
export const purposes = { order: 1, patch: 2, mask: 3, modes: 4 } as const;

/** The random sequence for one purpose and one number, such as a patch's: nothing needs to be stored to go on later. */
export function randomFor(seed: number, purpose: keyof typeof purposes, number: number): Random {
  return new Random(purposes[purpose] * 2 ** 32 + seed, number);
}

function shuffle(items: Int32Array, random: Random): Int32Array {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}

/**
 * Which scene each patch of an epoch is cut from: every scene patchesPerScene times, in random order. With scenesAtOnce the
 * scenes come in random groups of that many, and the patches of a group are mixed.
 */
export function epochOrder(
  { seed, patchesPerScene, scenesAtOnce }: Pick<TrainConfig, "seed" | "patchesPerScene" | "scenesAtOnce">,
  scenes: number,
  epoch: number,
): Int32Array {
  const random = randomFor(seed, "order", epoch);
  const all = shuffle(
    Int32Array.from({ length: scenes }, (_, i) => i),
    random,
  );
  const group = scenesAtOnce || scenes;
  const order = new Int32Array(scenes * patchesPerScene);
  for (let first = 0; first < scenes; first += group) {
    const members = all.subarray(first, first + group);
    const part = order.subarray(first * patchesPerScene, (first + members.length) * patchesPerScene);
    part.forEach((_, i) => {
      part[i] = members[i % members.length];
    });
    shuffle(part, random);
  }
  return order;
}

/** code / 65535 raised to the 2.2th, for every 16-bit code. */
let linear: Float32Array | undefined;
function linearTable(): Float32Array {
  linear ??= Float32Array.from({ length: 65536 }, (_, code) => (code / 65535) ** 2.2);
  return linear;
}

/**
 * Six values of the network's input for one pixel: radiance RGB, then pixel values RGB (method.md section 1). Codes span
 * 0 .. 65535 as in the rest of the product; the method divides by 65536, a difference of 1.5e-5.
 */
export function inputPixel(
  codes: Uint16Array,
  at: number,
  exposureValue: number,
  channels: readonly number[],
  out: Float32Array,
  to: number,
): void {
  const table = linearTable();
  const scale = radianceScale(exposureValue);
  for (let c = 0; c < 3; c++) {
    const code = codes[at + channels[c]];
    out[to + c] = table[code] * scale;
    out[to + 3 + c] = code / 65535;
  }
}

/** Where patches of a batch are written, channels last. */
export interface PatchArrays {
  /** One for the merge, too, where scenes have it. */
  readonly exposures: readonly Float32Array[];
  readonly truth: Float32Array;
  /** Segment ids; as many as pixels. */
  readonly segments: Float32Array;
}

export function patchArrays(count: number, patch: number, exposures: number): PatchArrays {
  const pixels = count * patch * patch;
  return {
    exposures: Array.from({ length: exposures }, () => new Float32Array(pixels * 6)),
    truth: new Float32Array(pixels * 3),
    segments: new Float32Array(pixels),
  };
}

/** Cuts a random patch from a scene, flipped, turned and recoloured by chance, to place `slot` of the arrays. */
export function cutPatch(
  scene: Scene,
  { patch, augmentation }: Pick<TrainConfig, "patch" | "augmentation">,
  random: Random,
  arrays: PatchArrays,
  slot: number,
): void {
  const { flips, turns, colours } = augmentation;
  const x0 = random.integer(scene.width - patch + 1);
  const y0 = random.integer(scene.height - patch + 1);
  const mirrored = flips && random.chance(0.5);
  const upsideDown = flips && random.chance(0.5);
  const turned = turns && random.chance(0.5);
  const order = [0, 1, 2];
  if (random.chance(colours)) for (let i = 2; i > 0; i--) swap(order, i, random.integer(i + 1));
  let p = slot * patch * patch;
  for (let y = 0; y < patch; y++) {
    for (let x = 0; x < patch; x++, p++) {
      const [tx, ty] = turned ? [y, x] : [x, y];
      const from = (y0 + (upsideDown ? patch - 1 - ty : ty)) * scene.width + x0 + (mirrored ? patch - 1 - tx : tx);
      scene.exposures.forEach((codes, e) => {
        inputPixel(codes, from * 3, scene.exposureValues[e], order, arrays.exposures[e], p * 6);
      });
      if (scene.merge) mergePixel(scene.merge, from * 3, 1, order, arrays.exposures[scene.exposures.length], p * 6);
      for (let c = 0; c < 3; c++) arrays.truth[p * 3 + c] = scene.truth[from * 3 + order[c]];
      arrays.segments[p] = scene.segments ? scene.segments[from] : 0;
    }
  }
}

function swap(items: number[], i: number, j: number): void {
  [items[i], items[j]] = [items[j], items[i]];
}
