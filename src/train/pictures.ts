import sharp from "sharp";
import type { Radiance } from "../image.js";
import { replaceFile } from "../output/replace-file.js";
import { toneMap } from "../output/tone-map.js";
import type { Scene } from "./dataset.js";
import type { LocalQuality } from "./local-quality.js";
import { lossWeights } from "./loss-weights.js";
import { drawMaskMap, segmentRatios } from "./masks.js";
import { inputPixel, randomFor } from "./patches.js";

/** Pixels between the panels of a picture. */
export const GAP = 8;
/** Longest width of one panel. */
const WIDEST = 400;

type Colour = readonly [number, number, number];

/** Panels of one size beside each other, 8-bit RGB. */
function beside(panels: readonly Uint8Array[], width: number, height: number): { data: Uint8Array; width: number } {
  const total = panels.length * width + (panels.length - 1) * GAP;
  const data = new Uint8Array(total * height * 3).fill(255);
  panels.forEach((panel, i) => {
    for (let y = 0; y < height; y++)
      data.set(panel.subarray(y * width * 3, (y + 1) * width * 3), (y * total + i * (width + GAP)) * 3);
  });
  return { data, width: total };
}

async function writePanels(path: string, panels: readonly Uint8Array[], width: number, height: number): Promise<void> {
  const picture = beside(panels, width, height);
  const image = sharp(picture.data, { raw: { width: picture.width, height, channels: 3 } });
  const scale = Math.min(1, WIDEST / width);
  if (scale < 1) image.resize({ width: Math.round(picture.width * scale) });
  await replaceFile(path, undefined, async (temporary) => {
    await image.png({ compressionLevel: 9 }).toFile(temporary);
  });
}

/** Pictures of one scene under one tone curve, chosen for the last of them. */
function toned(pictures: readonly Float32Array[], width: number, height: number): Uint8Array[] {
  const data = new Float32Array(pictures.length * width * height * 3);
  pictures.forEach((picture, i) => {
    data.set(picture, i * picture.length);
  });
  const stacked: Radiance = {
    width,
    height: height * pictures.length,
    channels: 3,
    data,
    encoding: { transfer: "linear", primaries: "srgb" },
    metadata: {},
  };
  const codes = toneMap(stacked).data as Uint8Array;
  return pictures.map((_, i) => codes.subarray(i * width * height * 3, (i + 1) * width * height * 3));
}

/** The reference exposure's radiance. */
function referenceRadiance(scene: Scene): Float32Array {
  const middle = scene.exposures.length >> 1;
  const out = new Float32Array(scene.truth.length);
  const pixel = new Float32Array(6);
  for (let i = 0; i < out.length; i += 3) {
    inputPixel(scene.exposures[middle], i, scene.exposureValues[middle], [0, 1, 2], pixel, 0);
    for (let c = 0; c < 3; c++) out[i + c] = pixel[c];
  }
  return out;
}

/** Reference exposure, prediction and truth of a scene beside each other, under one tone curve. */
export async function writePreview(path: string, scene: Scene, prediction: Float32Array): Promise<void> {
  const { width, height, truth } = scene;
  await writePanels(path, toned([referenceRadiance(scene), prediction, truth], width, height), width, height);
}

/** Values in [0, 1] from dark blue over green to yellow. */
export function heat(value: number): Colour {
  const stops: readonly Colour[] = [
    [68, 1, 84],
    [59, 82, 139],
    [33, 145, 140],
    [94, 201, 98],
    [253, 231, 37],
  ];
  const at = Math.min(1, Math.max(0, value)) * (stops.length - 1);
  const below = Math.min(stops.length - 2, Math.floor(at));
  const mix = (c: number) => Math.round(stops[below][c] + (at - below) * (stops[below + 1][c] - stops[below][c]));
  return [mix(0), mix(1), mix(2)];
}

/** A colour that tells a segment from its neighbours: hues by the golden ratio. */
function segmentColour(id: number): Colour {
  const hue = (id * 0.618034) % 1;
  const light = 0.55 + 0.35 * ((id * 0.7548777) % 1);
  const channel = (shift: number) => Math.round(255 * light * (0.62 + 0.38 * Math.cos(2 * Math.PI * (hue + shift))));
  return [channel(0), channel(1 / 3), channel(2 / 3)];
}

function painted(segments: Float32Array, colourOf: (id: number) => Colour): Uint8Array {
  const colours = new Map<number, Colour>();
  const out = new Uint8Array(segments.length * 3);
  for (let p = 0; p < segments.length; p++) {
    let colour = colours.get(segments[p]);
    if (!colour) {
      colour = colourOf(segments[p]);
      colours.set(segments[p], colour);
    }
    out.set(colour, 3 * p);
  }
  return out;
}

/** Range of the panels of local quality (dB) and of loss weights. */
export const QUALITY_RANGE = [15, 45] as const;
export const WEIGHT_RANGE = [0, 3] as const;

/**
 * How a training scene is masked, as panels beside each other: its truth, segments, local quality, loss weights, and where the
 * mask ratio is not 0 a mask map (masked pixels are black).
 */
export async function writeMaps(
  path: string,
  scene: Scene,
  segments: Float32Array,
  quality: LocalQuality,
  ratio: number,
  seed: number,
): Promise<void> {
  const { width, height } = scene;
  const [truth] = toned([scene.truth], width, height);
  const scaled = (value: number, [low, high]: readonly [number, number]) => heat((value - low) / (high - low));
  const weights = lossWeights(quality);
  const panels = [
    truth,
    painted(segments, segmentColour),
    painted(segments, (id) => scaled(quality.get(id) ?? QUALITY_RANGE[0], QUALITY_RANGE)),
    painted(segments, (id) => scaled(weights.get(id) ?? 1, WEIGHT_RANGE)),
  ];
  if (ratio > 0) {
    const map = drawMaskMap(segments, segmentRatios(quality, ratio), randomFor(seed, "mask", 0));
    panels.push(truth.map((code, i) => (map[Math.floor(i / 3)] === 0 ? 0 : code)));
  }
  await writePanels(path, panels, width, height);
}
