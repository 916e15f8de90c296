import { loadAddon, type MotionField, optionalAddon } from "../engine/addon.js";
import { finishTask } from "../engine/task.js";
import type { PixelData } from "../image.js";
import type { AlignOptions } from "./align.js";
import type { Homography, Note, PixelStore } from "./bracket.js";
import { checkRows } from "./pixels.js";
import { checkProxies, type ExposureProxy } from "./proxy.js";

export interface FollowOptions extends AlignOptions {
  /** Of each exposure: full-resolution pixels of the reference -> the exposure's. Default: none moved. */
  readonly homographies?: readonly (Homography | undefined)[] | undefined;
}

export interface BracketMotion {
  /** One for each exposure; undefined where nothing moved that could be followed, and for the reference. */
  readonly fields: (MotionField | undefined)[];
  readonly notes: Note[];
}

const identity: Homography = [1, 0, 0, 0, 1, 0, 0, 0, 1];

/**
 * Follows what moved between the reference and the other exposures, beyond the camera's movement. Only what comes back to
 * where it began when it is followed in the other direction too, and whose details then agree clearly better, counts as
 * moved. A missing native addon is noted.
 *
 * @param proxies One of each exposure, all of one size.
 * @param exposureValues In stops.
 * @param reference Index of the exposure whose moment is shown.
 * @throws SmhdrError INVALID_ARGUMENT or CANCELLED.
 */
export async function followBracket(
  proxies: readonly ExposureProxy[],
  exposureValues: readonly number[],
  reference: number,
  options: FollowOptions = {},
): Promise<BracketMotion> {
  const { homographies = [], names, threads, signal, onProgress } = options;
  checkProxies(proxies);
  const addon = optionalAddon();
  const notes: Note[] = [];
  const note = (message: string) => notes.push({ code: "motion", message });
  if (!addon) {
    note("What moved was not followed: that needs the native part of smhdr, which could not be loaded.");
    return { fields: proxies.map(() => undefined), notes };
  }
  const { width, height, scale, data } = proxies[reference];
  const fields: (MotionField | undefined)[] = [];
  const followed: string[] = [];
  for (const [i, proxy] of proxies.entries()) {
    const stops = exposureValues[i] - exposureValues[reference];
    const homography = [...(homographies[i] ?? identity)];
    const find = () => addon.findMotion(data, proxy.data, width, height, scale, stops, homography, threads);
    const field = i === reference ? undefined : await finishTask(find, signal);
    fields.push(field);
    if (field) followed.push(`${names?.[i] ?? `exposure ${i + 1}`} (${percent(field)})`);
    onProgress?.((i + 1) / proxies.length);
  }
  if (followed.length > 0) note(`Things moved and were followed in parts of ${followed.join(", ")}.`);
  return { fields, notes };
}

function percent({ count, width, height }: MotionField): string {
  const share = (100 * count) / (width * height);
  return share < 1 ? "less than 1 %" : `${Math.round(share)} %`;
}

const arrays = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array } as const;
const photographs = new WeakMap<PixelStore, PixelStore>();

/** The photograph's own pixels, where a bracket has them followed; else the same. */
export const photographOf = (pixels: PixelStore): PixelStore => photographs.get(pixels) ?? pixels;

/** An exposure's pixels as they would have been at the reference's moment, where the field tells. Closing closes both. */
export function followedPixels(pixels: PixelStore, field: MotionField): PixelStore {
  const { width, height, depth, encoding } = pixels;
  const addon = loadAddon();
  const linear = encoding.transfer === "linear";
  let buffer: PixelData | undefined;
  const followed: PixelStore = {
    width,
    height,
    channels: 3,
    depth,
    encoding,
    rows(y0, y1) {
      checkRows(pixels, y0, y1);
      if (y1 === y0) return pixels.rows(y0, y1);
      const [from, to] = addon.rowsFollowed(field, y0, y1);
      const first = Math.max(from, 0);
      const source = pixels.rows(first, Math.min(to, height));
      const samples = (y1 - y0) * width * 3;
      if (!buffer || buffer.length < samples) buffer = new arrays[depth](samples);
      const out = buffer.subarray(0, samples);
      addon.followRows(field, linear, width, first, source, y0, out);
      return out;
    },
    close() {
      buffer = undefined;
      pixels.close();
    },
  };
  photographs.set(followed, pixels);
  return followed;
}
