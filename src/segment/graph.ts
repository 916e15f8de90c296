/** A partition of an image: labels[y * width + x] in 0 .. count - 1. */
export interface Segmentation {
  readonly width: number;
  readonly height: number;
  readonly labels: Int32Array;
  readonly count: number;
  /** The label of pixels that belong to no segment, where there is one. */
  readonly background?: number;
}

export interface GraphSegmenterOptions {
  /** Larger prefers larger segments: the k of the threshold k / |C|. Default 300. */
  readonly scale?: number;
  /** Smaller segments are joined to the neighbour across their weakest edge, pixels. Default 50. */
  readonly minimumSize?: number;
  /** Gaussian smoothing before, standard deviation in pixels; 0 is none. Default 0.8. */
  readonly sigma?: number;
}

/**
 * Segments an RGB image with the graph-based method of Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation"
 * (IJCV 59(2), 2004): 8-connected pixels, edge weight the Euclidean distance of the colours, union in order of weight.
 * `rgb` is interleaved and display-encoded, 0 .. 255 (the unit of `scale`); see displayValues for linear light.
 */
export function segmentGraph(
  rgb: Float32Array,
  width: number,
  height: number,
  options: GraphSegmenterOptions = {},
): Segmentation {
  const { scale = 300, minimumSize = 50, sigma = 0.8 } = options;
  const pixels = width * height;
  const smooth = sigma > 0 ? gaussianBlur(rgb, width, height, sigma) : rgb;

  // Edges to the right, below, and both diagonals below, with weights in fixed point so that they sort by counting.
  const levels = 1 << 16;
  const weightScale = (levels - 1) / (256 * Math.sqrt(3));
  const from = new Int32Array(pixels * 4);
  const to = new Int32Array(pixels * 4);
  const weight = new Uint16Array(pixels * 4);
  let edges = 0;
  const connect = (a: number, b: number) => {
    const dr = smooth[a * 3] - smooth[b * 3];
    const dg = smooth[a * 3 + 1] - smooth[b * 3 + 1];
    const db = smooth[a * 3 + 2] - smooth[b * 3 + 2];
    from[edges] = a;
    to[edges] = b;
    weight[edges++] = Math.min(levels - 1, Math.sqrt(dr * dr + dg * dg + db * db) * weightScale);
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const p = y * width + x;
      if (x + 1 < width) connect(p, p + 1);
      if (y + 1 < height) {
        connect(p, p + width);
        if (x + 1 < width) connect(p, p + width + 1);
        if (x > 0) connect(p, p + width - 1);
      }
    }
  }

  const start = new Int32Array(levels + 1);
  for (let e = 0; e < edges; e++) start[weight[e] + 1]++;
  for (let i = 0; i < levels; i++) start[i + 1] += start[i];
  const order = new Int32Array(edges);
  for (let e = 0; e < edges; e++) order[start[weight[e]]++] = e;

  const parent = new Int32Array(pixels);
  const size = new Int32Array(pixels).fill(1);
  const threshold = new Float32Array(pixels).fill(scale);
  for (let p = 0; p < pixels; p++) parent[p] = p;
  const find = (p: number) => {
    while (parent[p] !== p) {
      parent[p] = parent[parent[p]];
      p = parent[p];
    }
    return p;
  };
  for (let i = 0; i < edges; i++) {
    const e = order[i];
    const a = find(from[e]);
    const b = find(to[e]);
    if (a === b) continue;
    const w = weight[e] / weightScale;
    if (w > threshold[a] || w > threshold[b]) continue;
    parent[b] = a;
    size[a] += size[b];
    threshold[a] = w + scale / size[a];
  }
  for (let i = 0; i < edges; i++) {
    const a = find(from[order[i]]);
    const b = find(to[order[i]]);
    if (a === b || (size[a] >= minimumSize && size[b] >= minimumSize)) continue;
    parent[b] = a;
    size[a] += size[b];
  }

  const labels = new Int32Array(pixels);
  const names = new Int32Array(pixels).fill(-1);
  let count = 0;
  for (let p = 0; p < pixels; p++) {
    const root = find(p);
    if (names[root] < 0) names[root] = count++;
    labels[p] = names[root];
  }
  return { width, height, labels, count };
}

/**
 * Linear RGB (any positive scale) as display values 0 .. 255 for segmentGraph: mu-law around the median, so that structure in
 * highlights and shadows counts alike.
 */
export function displayValues(linear: Float32Array, median: number): Float32Array {
  const out = new Float32Array(linear.length);
  // log(1 + 50 v) reaches 255 at 64 times the median; the logarithm keeps edges of equal contrast about equal.
  const gain = 255 / Math.log1p(50 * 16);
  const scale = 50 / (4 * Math.max(median, 1e-12));
  for (let i = 0; i < linear.length; i++) out[i] = Math.min(255, gain * Math.log1p(scale * linear[i]));
  return out;
}

function gaussianBlur(rgb: Float32Array, width: number, height: number, sigma: number): Float32Array {
  const radius = Math.ceil(3 * sigma);
  const kernel = new Float32Array(2 * radius + 1);
  let sum = 0;
  for (let i = -radius; i <= radius; i++) sum += kernel[i + radius] = Math.exp((-i * i) / (2 * sigma * sigma));
  for (let i = 0; i < kernel.length; i++) kernel[i] /= sum;
  const pass = (source: Float32Array, step: number, length: number, position: (p: number) => number) => {
    const out = new Float32Array(source.length);
    for (let p = 0; p < width * height; p++) {
      const at = position(p);
      let r = 0;
      let g = 0;
      let b = 0;
      for (let k = -radius; k <= radius; k++) {
        const clamped = Math.min(length - 1, Math.max(0, at + k));
        const q = (p + (clamped - at) * step) * 3;
        const w = kernel[k + radius];
        r += w * source[q];
        g += w * source[q + 1];
        b += w * source[q + 2];
      }
      out[p * 3] = r;
      out[p * 3 + 1] = g;
      out[p * 3 + 2] = b;
    }
    return out;
  };
  const across = pass(rgb, 1, width, (p) => p % width);
  return pass(across, width, height, (p) => Math.floor(p / width));
}
