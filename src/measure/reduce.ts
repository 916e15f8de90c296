/** The size within `longest` pixels a side that keeps the proportions; never larger than it was. */
export function reducedSize(width: number, height: number, longest: number): { width: number; height: number } {
  const factor = Math.min(1, longest / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * factor)), height: Math.max(1, Math.round(height * factor)) };
}

/**
 * Reduces rows of interleaved channels to a smaller size: every new pixel is the mean over the area it covers, partly
 * covered pixels counting in part. For what may be averaged: linear light, maps.
 */
export function reduceArea(
  data: Float32Array,
  from: { readonly width: number; readonly height: number },
  to: { readonly width: number; readonly height: number },
  channels: number,
): Float32Array {
  const out = new Float32Array(to.width * to.height * channels);
  const columns = spans(from.width, to.width);
  const rows = spans(from.height, to.height);
  const line = new Float64Array(from.width * channels);
  for (let y = 0, at = 0; y < to.height; y++) {
    line.fill(0);
    for (const [row, weight] of rows[y]) {
      const start = row * line.length;
      for (let i = 0; i < line.length; i++) line[i] += weight * data[start + i];
    }
    for (let x = 0; x < to.width; x++, at += channels) {
      for (const [column, weight] of columns[x]) {
        for (let c = 0; c < channels; c++) out[at + c] += weight * line[column * channels + c];
      }
    }
  }
  return out;
}

/** For each of `to` cells over a line of `from` pixels: the pixels it covers and how much of the cell each takes. */
function spans(from: number, to: number): [index: number, weight: number][][] {
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    const begin = i * scale;
    const end = Math.min(from, (i + 1) * scale);
    const parts: [number, number][] = [];
    for (let k = Math.floor(begin); k < end && k < from; k++) {
      const covered = Math.min(end, k + 1) - Math.max(begin, k);
      if (covered > 1e-9) parts.push([k, covered / (end - begin)]);
    }
    return parts;
  });
}
