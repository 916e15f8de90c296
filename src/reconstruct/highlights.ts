// A network's radiance ends where the shortest exposure that it was given clips. Of a long bracket it is not given the shortest of all;
// what only shorter ones saw is then the merge's.

/** The merge's radiance, 1.0 being the network's clipping point, at which it begins to replace the network's, and has done so. */
const BEGINS = 0.6;
const ENDS = 0.95;

/**
 * Brings the merge's highlights into the network's picture, in place. Both are interleaved RGB of the same pixels.
 * @param scale what makes 1.0 of the merge's radiance at which the network's shortest exposure clips; `picture` has that scale
 */
export function bringHighlights(picture: Float32Array, merge: Float32Array, scale: number): void {
  for (let i = 0; i < picture.length; i += 3) {
    const brightest = Math.max(merge[i], merge[i + 1], merge[i + 2]) * scale;
    if (!(brightest > BEGINS)) continue;
    const along = Math.min(1, (brightest - BEGINS) / (ENDS - BEGINS));
    const share = along * along * (3 - 2 * along);
    for (let c = i; c < i + 3; c++) picture[c] += share * (merge[c] * scale - picture[c]);
  }
}
