import { type Addon, loadAddon } from "../engine/addon.js";
import { finishTask } from "../engine/task.js";
import { SmhdrError } from "../errors.js";
import type { Homography, Note } from "./bracket.js";
import { checkProxies, type ExposureProxy } from "./proxy.js";

export interface AlignOptions {
  /** What to call the exposures in notes. Default "exposure 1", ... */
  readonly names?: readonly string[] | undefined;
  /** Default: one per processor. */
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the fraction done, 0 to 1. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

export interface BracketAlignment {
  /** One for each exposure, in full-resolution pixels; undefined for those that stay where they are. */
  readonly homographies: (Homography | undefined)[];
  readonly notes: Note[];
}

/**
 * Finds how a hand-held camera moved between the exposures. An exposure is moved only when that agrees clearly better
 * with the reference than leaving it, judged on pixels that took no part in the estimate, and only when it moved by
 * 0.15 pixels or more in the mean (and by 0.05 of the proxies): brackets from a tripod stay bit for bit. What could not
 * be told is left alone and noted. A missing native addon is noted too.
 *
 * @param proxies One of each exposure, all of one size.
 * @param exposureValues In stops; says which exposures are neighbours.
 * @param reference Index of the exposure that the others are moved to.
 * @throws SmhdrError INVALID_ARGUMENT or CANCELLED.
 */
export async function alignBracket(
  proxies: readonly ExposureProxy[],
  exposureValues: readonly number[],
  reference: number,
  options: AlignOptions = {},
): Promise<BracketAlignment> {
  const { names = proxies.map((_, i) => `exposure ${i + 1}`), threads, signal, onProgress } = options;
  const unmoved = proxies.map(() => undefined);
  checkProxies(proxies);
  const [{ width, height, scale }] = proxies;

  let addon: Addon;
  try {
    addon = loadAddon();
  } catch (error) {
    if (!(error instanceof SmhdrError && error.code === "ADDON_MISSING")) throw error;
    const message = "The exposures were not aligned: that needs the native part of smhdr, which could not be loaded.";
    return { homographies: unmoved, notes: [{ code: "alignment", message }] };
  }
  const images = proxies.map(({ data }) => data);
  const found = await finishTask(
    () => addon.align(images, width, height, scale, [...exposureValues], reference, onProgress, threads),
    signal,
  );

  const notes: Note[] = [];
  const note = (message: string) => notes.push({ code: "alignment", message });
  const moved = found.flatMap(({ outcome, displacement }, i) =>
    outcome === "aligned" ? [`${names[i]} by up to ${displacement.toFixed(1)} pixels`] : [],
  );
  if (moved.length > 0) note(`The camera moved; aligned to ${names[reference]}: ${moved.join(", ")}.`);
  for (const [i, { outcome }] of found.entries()) {
    if (outcome === "unreliable") {
      note(`${names[i]} was left as it is: no movement was found that makes it agree clearly better.`);
    } else if (outcome === "no-overlap") {
      note(`${names[i]} was left as it is: it shares too little well-exposed detail with the others to be aligned.`);
    }
  }
  return {
    homographies: found.map(({ outcome, homography }) => (outcome === "aligned" ? homography : undefined)),
    notes,
  };
}
