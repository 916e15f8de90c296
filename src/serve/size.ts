import { reducedSize } from "../measure/reduce.js";

interface Size {
  readonly width: number;
  readonly height: number;
}

/**
 * The size within `longest` pixels a side of a picture that is made from a smaller copy of it. It is rounded from the whole
 * picture, whatever the copy's size, so that views, ghost maps and thumbnails lie over each other.
 */
export function sizeWithin(longest: number, whole: Size, copy: Size = whole): Size {
  return reducedSize(whole.width, whole.height, Math.min(longest, Math.max(copy.width, copy.height)));
}
