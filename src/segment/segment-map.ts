import { SmhdrError } from "../errors.js";
import { type GraphSegmenterOptions, type Segmentation, segmentGraph } from "./graph.js";

/** Segments smaller than this many pixels belong to the background, as in the paper. */
export const smallestSegment = 1000;

/** Ids stay below, so that float32 can hold them. */
export const MOST_SEGMENTS = 2 ** 24;

/** ids[y * width + x] names the pixel's segment; float32 as stored in masks.npy, so below 2^24. */
export interface SegmentMap {
  readonly width: number;
  readonly height: number;
  readonly ids: Float32Array;
  /** Ids used: firstId (the background) to firstId + count - 1. */
  readonly count: number;
}

/**
 * Cleans a segmentation: segments below `smallest` pixels join the background, which has the id `firstId`; the others get the
 * following ids from the largest down. Scenes of one data set get disjoint ids by their firstId.
 */
export function cleanSegments(segmentation: Segmentation, firstId = 0, smallest = smallestSegment): SegmentMap {
  const { width, height, labels, count, background } = segmentation;
  const area = new Int32Array(count);
  for (const label of labels) area[label]++;
  const kept = Array.from(area.keys()).filter((label) => label !== background && area[label] >= smallest);
  kept.sort((a, b) => area[b] - area[a] || a - b);
  if (!Number.isInteger(firstId) || firstId < 0 || firstId + kept.length >= MOST_SEGMENTS)
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `firstId must be a whole number that leaves ids below 2^24 (float32), got ${firstId} for ${kept.length} segments.`,
    );
  const idOf = new Float32Array(count).fill(firstId);
  kept.forEach((label, i) => {
    idOf[label] = firstId + 1 + i;
  });
  const ids = new Float32Array(labels.length);
  for (let p = 0; p < ids.length; p++) ids[p] = idOf[labels[p]];
  return { width, height, ids, count: kept.length + 1 };
}

/** The graph-based segment map of a photograph, usually the middle exposure: codes 0 .. 65535, interleaved RGB. */
export function segmentPhotograph(
  codes: Uint16Array,
  width: number,
  height: number,
  firstId = 0,
  options: GraphSegmenterOptions = {},
): SegmentMap {
  const display = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) display[i] = codes[i] / 257;
  return cleanSegments(segmentGraph(display, width, height, { minimumSize: 200, ...options }), firstId);
}
