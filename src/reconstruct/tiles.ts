import { SmhdrError } from "../errors.js";
import type { Region } from "./region.js";

/** Window size of the network: tiles begin and end on multiples of it, so that all windows fall as in the whole image. */
export const GRID = 8;
/** Pixels a tile shares with its neighbour, over which one fades into the other. */
export const OVERLAP = 64;
/** Smaller tiles would be mostly overlap. */
export const LEAST_TILE = 128;

/** Where the network works: one region for the whole image, or overlapping tiles that cover it. */
export interface TilePlan {
  readonly tiles: readonly Region[];
  /** Regions whose sums all tiles share; empty for a whole image, which has its own. */
  readonly samples: readonly Region[];
}

const roundUp = (n: number) => Math.ceil(n / GRID) * GRID;

/** Even starts of the fewest tiles of `size` that cover `length` with at least OVERLAP between neighbours. */
function starts(length: number, size: number): number[] {
  if (size >= length) return [0];
  const count = Math.ceil((length - OVERLAP) / (size - OVERLAP));
  return Array.from({ length: count }, (_, i) => roundUp((i * (length - size)) / (count - 1) - GRID + 1));
}

/**
 * Plans the work on width x height pixels.
 * @param pixels how many pixels fit into memory at once
 * @param tile "auto": the whole image if it fits, else the largest tiles that do; "full": the whole image; or a tile's side
 * @throws SmhdrError OUT_OF_MEMORY when not even the smallest tile, or the whole image that was asked for, fits
 */
export function planTiles(width: number, height: number, pixels: number, tile: "auto" | "full" | number): TilePlan {
  const whole = { x: 0, y: 0, width: roundUp(width), height: roundUp(height) };
  const fits = (region: Region) => region.width * region.height <= pixels;
  if (tile === "full" && !fits(whole)) {
    throw new SmhdrError(
      "OUT_OF_MEMORY",
      `tile: the whole image of ${width} x ${height} pixels does not fit the memory; use --tile auto.`,
    );
  }
  if (tile === "full" || (tile === "auto" && fits(whole))) return { tiles: [whole], samples: [] };
  const [across, down] = tile === "auto" ? bestTile(whole, pixels) : squareTile(whole, roundUp(tile), pixels);
  const tiles = starts(whole.height, down).flatMap((y) =>
    starts(whole.width, across).map((x) => ({ x, y, width: across, height: down })),
  );
  if (tiles.length === 1) return { tiles, samples: [] };
  return { tiles, samples: sampleRegions(whole, pixels) };
}

/** How many pixels must fit into memory at once for planTiles to find a plan. */
export function leastPixels(width: number, height: number, tile: "auto" | "full" | number): number {
  const sides = [width, height].map((length) => {
    const whole = roundUp(length);
    if (tile === "full") return whole;
    if (tile !== "auto") return Math.min(roundUp(tile), whole);
    let least = whole;
    for (let count = 2; ; count++) {
      const side = sideOf(whole, count);
      if (side === undefined) return least;
      least = Math.min(least, side);
    }
  });
  return sides[0] * sides[1];
}

function squareTile(whole: Region, side: number, pixels: number): [across: number, down: number] {
  const [across, down] = [Math.min(side, whole.width), Math.min(side, whole.height)];
  if (side < LEAST_TILE) throw new SmhdrError("OUT_OF_MEMORY", `tile: expected at least ${LEAST_TILE}; got ${side}.`);
  if (across * down > pixels) throw tooLarge(side);
  return [across, down];
}

const tooLarge = (side: number) =>
  new SmhdrError("OUT_OF_MEMORY", `tile: tiles of ${side} pixels do not fit the memory.`);

/** The side of `count` tiles that just cover `length`, or undefined where they would be too small. */
function sideOf(length: number, count: number): number | undefined {
  const size = roundUp((length + (count - 1) * OVERLAP) / count);
  return count === 1 || size >= LEAST_TILE ? size : undefined;
}

/** Sides of the tiles that fit into memory and cover the image with the fewest pixels in all. */
function bestTile(whole: Region, pixels: number): [across: number, down: number] {
  let best: { across: number; down: number; work: number } | undefined;
  for (let rows = 1; ; rows++) {
    const down = sideOf(whole.height, rows);
    if (down === undefined) break;
    // The fewest columns that fit: more of them would only overlap more.
    for (let columns = 1; ; columns++) {
      const across = sideOf(whole.width, columns);
      if (across === undefined) break;
      if (across * down > pixels) continue;
      const work = rows * columns * across * down;
      if (!best || work < best.work) best = { across, down, work };
      break;
    }
  }
  if (!best) throw tooLarge(LEAST_TILE);
  return [best.across, best.down];
}

/**
 * 32 to 64 patches of 128 x 128 spread evenly over the image, a sixteenth of it where that lies between, as many as fit into
 * memory together.
 */
function sampleRegions(whole: Region, pixels: number): Region[] {
  const side = { width: Math.min(128, whole.width), height: Math.min(128, whole.height) };
  const patch = side.width * side.height;
  const wanted = Math.min(64, Math.max(32, Math.floor((whole.width * whole.height) / 16 / patch)));
  const most = Math.min(wanted, Math.floor(pixels / patch));
  const rows = Math.min(most, Math.max(1, Math.round(Math.sqrt((most * whole.height) / whole.width))));
  const columns = Math.max(1, Math.floor(most / rows));
  const spread = (i: number, count: number, free: number) => Math.floor(((i + 0.5) * free) / count / GRID) * GRID;
  return Array.from({ length: rows * columns }, (_, i) => ({
    x: spread(i % columns, columns, whole.width - side.width),
    y: spread(Math.floor(i / columns), rows, whole.height - side.height),
    ...side,
  }));
}

/** Weight of a tile at `at` of its axis: a straight ramp over what it shares with a neighbour, 1 elsewhere. */
export function fade(at: number, start: number, size: number, length: number): number {
  const fromStart = start === 0 ? 1 : (at - start + 0.5) / OVERLAP;
  const fromEnd = start + size >= length ? 1 : (start + size - at - 0.5) / OVERLAP;
  return Math.min(1, fromStart, fromEnd);
}
