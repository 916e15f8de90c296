import { fastExp2, levelFor, oversampling } from "./plate.js";
import type { Random } from "./random.js";
import type { PreparedSource } from "./source.js";
import { textureTiles, tileSize } from "./texture.js";

/** A thing that can move: premultiplied linear RGBA, `oversampling` pixels per output pixel, centred on its middle. */
export interface Sprite {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
}

/**
 * Cuts a thing of about `area` output pixels out of a source: a segment, a soft blob, or a figure with head and limbs filled with
 * the source's texture. Its median luminance becomes `brightness`.
 */
export function createSprite(random: Random, source: PreparedSource, area: number, brightness: number): Sprite {
  const kind = random.uniform();
  const sprite =
    kind < 0.55 && source.pieces.length > 0
      ? cutPiece(random, source, area)
      : fillShape(random, source, area, kind < 0.8 ? blob(random) : figure(random));
  finish(random, sprite, brightness);
  return sprite;
}

function cutPiece(random: Random, source: PreparedSource, area: number): Sprite {
  const piece = random.pick(source.pieces);
  const segments = source.levels[source.segmentLevel];
  const toSegment = source.levels[0].width / segments.width;
  // Output pixels per level 0 pixel: as the area asks, but not blown up into blur.
  const upsampling = Math.min(1.5, Math.sqrt(area / piece.area) / toSegment);
  const step = 1 / (upsampling * oversampling * toSegment);
  const border = 2;
  const width = Math.ceil((piece.x1 - piece.x0 + 1) / step) + 2 * border;
  const height = Math.ceil((piece.y1 - piece.y0 + 1) / step) + 2 * border;
  const flip = random.sign();
  const steepness = Math.max(1, Math.min(4, 1 / step / 2));
  const { labels } = source;
  const inside = (x: number, y: number) =>
    x >= 0 && y >= 0 && x < segments.width && y < segments.height && labels[y * segments.width + x] === piece.label
      ? 1
      : 0;
  return paint(source, width, height, step * toSegment, (x, y, out) => {
    const u = piece.x0 + ((flip > 0 ? x : width - x) - border) * step;
    const v = piece.y0 + (y - border) * step;
    const [x0, y0] = [Math.floor(u - 0.5), Math.floor(v - 0.5)];
    const [s, t] = [u - 0.5 - x0, v - 0.5 - y0];
    const coverage =
      (inside(x0, y0) * (1 - s) + inside(x0 + 1, y0) * s) * (1 - t) +
      (inside(x0, y0 + 1) * (1 - s) + inside(x0 + 1, y0 + 1) * s) * t;
    out[0] = u * toSegment;
    out[1] = v * toSegment;
    return (coverage - 0.5) * steepness + 0.5;
  });
}

/** Signed field of a shape over [-1, 1]^2, positive inside, about linear with slope 1 near the edge; and its proportions. */
interface Shape {
  readonly aspect: number;
  /** Share of the square that is inside, about. */
  readonly filling: number;
  /** Width of the soft edge in units of the field; 0 is one output pixel. */
  readonly softness: number;
  readonly field: (x: number, y: number) => number;
}

function blob(random: Random): Shape {
  const waves = Array.from({ length: 4 }, () => [
    random.normal(0, 2.2),
    random.normal(0, 2.2),
    random.uniform(0, 6.28),
    random.uniform(0.03, 0.13),
  ]);
  // |x|^p + |y|^p with p = 2, 4 or 8: from an ellipse to nearly a rectangle.
  const squarings = random.pick([1, 1, 2, 3]);
  const size = 0.75;
  return {
    aspect: random.logUniform(0.35, 2.8),
    filling: 0.42,
    softness: random.chance(0.25) ? random.uniform(0.05, 0.5) : 0,
    field(x, y) {
      let [px, py] = [x, y];
      for (let k = 0; k < squarings; k++) [px, py] = [px * px, py * py];
      let radius = px + py;
      for (let k = 0; k < squarings; k++) radius = Math.sqrt(radius);
      let f = size - radius;
      for (const [kx, ky, phase, amplitude] of waves) f += amplitude * Math.sin(kx * x + ky * y + phase);
      return f;
    },
  };
}

/** A standing or walking figure of capsules: head, trunk, arms, legs. */
function figure(random: Random): Shape {
  const stride = random.normal(0, 0.35);
  const lean = random.normal(0, 0.08);
  // x, y of the start, the vector to the end, 1 / its squared length, radius.
  const capsules: number[] = [];
  const add = (x0: number, y0: number, x1: number, y1: number, radius: number) => {
    const [dx, dy] = [x1 - x0, y1 - y0];
    capsules.push(x0, y0, dx, dy, 1 / (dx * dx + dy * dy), radius);
  };
  const girth = random.uniform(0.8, 1.3);
  add(lean, -0.78, lean, -0.74, 0.13);
  add(lean * 0.6, -0.42, 0, 0.02, 0.2 * girth);
  for (const side of [-1, 1]) {
    const swing = side * stride + random.normal(0, 0.1);
    add(side * 0.2 * girth + lean, -0.5, side * 0.3 * girth - swing * 0.7, 0.0, 0.07 * girth);
    add(side * 0.08, 0.05, side * 0.1 + swing * 0.5, 0.45, 0.1 * girth);
    add(side * 0.1 + swing * 0.5, 0.45, side * 0.1 + swing, 0.9, 0.08);
  }
  return {
    aspect: 1,
    filling: 0.17,
    softness: 0,
    field(x, y) {
      let nearest = -2;
      for (let k = 0; k < capsules.length; k += 6) {
        const dx = x - capsules[k];
        const dy = y - capsules[k + 1];
        let t = (dx * capsules[k + 2] + dy * capsules[k + 3]) * capsules[k + 4];
        t = t < 0 ? 0 : t > 1 ? 1 : t;
        const ex = dx - t * capsules[k + 2];
        const ey = dy - t * capsules[k + 3];
        const f = capsules[k + 5] - Math.sqrt(ex * ex + ey * ey);
        if (f > nearest) nearest = f;
      }
      return nearest;
    },
  };
}

function fillShape(random: Random, source: PreparedSource, area: number, shape: Shape): Sprite {
  const side = Math.sqrt(area / (4 * shape.filling)) * oversampling;
  const halfWidth = Math.max(3, side * Math.sqrt(shape.aspect));
  const halfHeight = Math.max(3, side / Math.sqrt(shape.aspect));
  const width = Math.ceil(2 * halfWidth);
  const height = Math.ceil(2 * halfHeight);
  const { width: sourceWidth, height: sourceHeight } = source.levels[0];
  const upsampling = Math.max(
    random.logUniform(0.4, 1.4),
    width / oversampling / sourceWidth,
    height / oversampling / sourceHeight,
  );
  const step = 1 / (upsampling * oversampling);
  const u0 = random.uniform(0, sourceWidth - width * step);
  const v0 = random.uniform(0, sourceHeight - height * step);
  const smaller = Math.min(halfWidth, halfHeight);
  const slope = shape.softness > 0 ? 1 / shape.softness : smaller / oversampling;
  return paint(source, width, height, step, (x, y, out) => {
    out[0] = u0 + x * step;
    out[1] = v0 + y * step;
    return shape.field(x / halfWidth - 1, y / halfHeight - 1) * slope + 0.5;
  });
}

/** Fills a sprite: `place` writes the level 0 position of a sprite pixel and returns its coverage (clamped here). */
function paint(
  source: PreparedSource,
  width: number,
  height: number,
  step: number,
  place: (x: number, y: number, out: Float64Array) => number,
): Sprite {
  const level = source.levels[levelFor(source, step)];
  const shrink = source.levels[0].width / level.width;
  const data = new Float32Array(width * height * 4);
  const at = new Float64Array(2);
  const { data: pixels, width: w, height: h } = level;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      // The outermost ring stays empty, so that interpolation fades out inside the sprite.
      if (x === 0 || y === 0 || x === width - 1 || y === height - 1) continue;
      let alpha = place(x + 0.5, y + 0.5, at);
      if (alpha <= 0) continue;
      if (alpha > 1) alpha = 1;
      const u = Math.max(0, Math.min(w - 1, at[0] / shrink - 0.5));
      const v = Math.max(0, Math.min(h - 1, at[1] / shrink - 0.5));
      const x0 = u | 0;
      const y0 = v | 0;
      const s = u - x0;
      const t = v - y0;
      const i00 = (y0 * w + x0) * 3;
      const i01 = x0 + 1 < w ? i00 + 3 : i00;
      const down = y0 + 1 < h ? w * 3 : 0;
      const o = (y * width + x) * 4;
      for (let c = 0; c < 3; c++) {
        const top = pixels[i00 + c] * (1 - s) + pixels[i01 + c] * s;
        const bottom = pixels[i00 + down + c] * (1 - s) + pixels[i01 + down + c] * s;
        data[o + c] = alpha * (top * (1 - t) + bottom * t);
      }
      data[o + 3] = alpha;
    }
  }
  return { width, height, data };
}

/** Brings a sprite to its brightness, with its own colour cast, contrast and sometimes texture or shading. */
function finish(random: Random, sprite: Sprite, brightness: number): void {
  const { data, width, height } = sprite;
  const sample: number[] = [];
  const stride = Math.max(1, Math.floor((width * height) / 1000));
  for (let p = 0; p < width * height; p += stride) {
    if (data[p * 4 + 3] > 0.5)
      sample.push((0.2126 * data[p * 4] + 0.7152 * data[p * 4 + 1] + 0.0722 * data[p * 4 + 2]) / data[p * 4 + 3]);
  }
  sample.sort((a, b) => a - b);
  const median = Math.max(sample[sample.length >> 1] ?? 1, 1e-6);
  const gains = [0, 1, 2].map(() => (brightness / median) * 2 ** random.normal(0, 0.35));
  const texture = random.chance(0.5) ? random.uniform(0.05, 0.5) : 0;
  const tile = random.pick(textureTiles());
  const scale = random.pick([1, 1, 2]);
  const [ox, oy] = [random.integer(tileSize), random.integer(tileSize)];
  const shadeX = random.normal(0, 0.7) / width;
  const shadeY = random.normal(0, 0.7) / height;
  // What is nearly black in the source would stay flat black: a little of the median gives texture something to act on.
  const lift = median * random.uniform(0, 0.1);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const o = (y * width + x) * 4;
      const alpha = data[o + 3];
      if (alpha <= 0) continue;
      let stops = shadeX * (x - width / 2) + shadeY * (y - height / 2);
      if (texture > 0) {
        const u = (Math.floor(x / scale) + ox) & (tileSize - 1);
        const v = (Math.floor(y / scale) + oy) & (tileSize - 1);
        stops += texture * tile[v * tileSize + u];
      }
      const gain = fastExp2(stops);
      for (let c = 0; c < 3; c++) data[o + c] = (data[o + c] + alpha * lift) * gains[c] * gain;
    }
  }
}

/** Where a sprite stands in one exposure, in output pixels of the reference's frame. */
export interface Pose {
  readonly x: number;
  readonly y: number;
  readonly angle: number;
  readonly scale: number;
  /** Bends and shears: sprite x += bendX y^2 + shear y, y += bendY x^2, in units of the sprite's half size. */
  readonly bendX: number;
  readonly bendY: number;
  readonly shear: number;
}

/**
 * Composites a sprite over a frame seen through `shake` (frame pixel -> reference pixel, homogeneous 3x3). Where it covers, `marks`
 * (reference geometry, when given) becomes 1.
 */
export function compositeSprite(
  frame: Float32Array,
  width: number,
  height: number,
  sprite: Sprite,
  pose: Pose,
  shake: Float64Array,
  marks?: Uint8Array,
): void {
  const halfWidth = sprite.width / 2;
  const halfHeight = sprite.height / 2;
  const reach =
    ((Math.hypot(
      halfWidth * (1 + Math.abs(pose.bendX) + Math.abs(pose.shear)),
      halfHeight * (1 + Math.abs(pose.bendY)),
    ) +
      2) *
      pose.scale) /
    oversampling;
  // Where the centre lies in this frame: shake is close to the identity, so one correction inverts it well enough for bounds.
  const [h0, h1, h2, h3, h4, h5, h6, h7, h8] = shake;
  const weight = h6 * pose.x + h7 * pose.y + h8;
  const cx = 2 * pose.x - (h0 * pose.x + h1 * pose.y + h2) / weight;
  const cy = 2 * pose.y - (h3 * pose.x + h4 * pose.y + h5) / weight;
  const pad = reach * 1.1 + 3;
  const x0 = Math.max(0, Math.floor(cx - pad));
  const x1 = Math.min(width - 1, Math.ceil(cx + pad));
  const y0 = Math.max(0, Math.floor(cy - pad));
  const y1 = Math.min(height - 1, Math.ceil(cy + pad));
  const c = (Math.cos(pose.angle) * oversampling) / pose.scale;
  const s = (Math.sin(pose.angle) * oversampling) / pose.scale;
  const { data } = sprite;
  const stride = sprite.width * 4;
  for (let y = y0; y <= y1; y++) {
    for (let x = x0; x <= x1; x++) {
      const px = x + 0.5;
      const py = y + 0.5;
      const w = 1 / (h6 * px + h7 * py + h8);
      const rx = (h0 * px + h1 * py + h2) * w;
      const ry = (h3 * px + h4 * py + h5) * w;
      const dx = rx - pose.x;
      const dy = ry - pose.y;
      let u = dx * c + dy * s;
      let v = dy * c - dx * s;
      const nu = u / halfWidth;
      const nv = v / halfHeight;
      u += halfWidth * (pose.bendX * nv * nv + pose.shear * nv) + halfWidth - 0.5;
      v += halfHeight * pose.bendY * nu * nu + halfHeight - 0.5;
      if (u < 0 || v < 0 || u >= sprite.width - 1 || v >= sprite.height - 1) continue;
      const iu = u | 0;
      const iv = v | 0;
      const fu = u - iu;
      const fv = v - iv;
      const p = iv * stride + iu * 4;
      const w11 = fu * fv;
      const w01 = fu - w11;
      const w10 = fv - w11;
      const w00 = 1 - fu - w10;
      const q = p + stride;
      const alpha = w00 * data[p + 3] + w01 * data[p + 7] + w10 * data[q + 3] + w11 * data[q + 7];
      if (alpha <= 0) continue;
      const o = (y * width + x) * 3;
      const rest = 1 - alpha;
      frame[o] = rest * frame[o] + w00 * data[p] + w01 * data[p + 4] + w10 * data[q] + w11 * data[q + 4];
      frame[o + 1] =
        rest * frame[o + 1] + w00 * data[p + 1] + w01 * data[p + 5] + w10 * data[q + 1] + w11 * data[q + 5];
      frame[o + 2] =
        rest * frame[o + 2] + w00 * data[p + 2] + w01 * data[p + 6] + w10 * data[q + 2] + w11 * data[q + 6];
      if (marks) {
        const mx = Math.floor(rx - 0.5);
        const my = Math.floor(ry - 0.5);
        for (let j = my; j <= my + 1; j++)
          for (let i = mx; i <= mx + 1; i++) if (i >= 0 && j >= 0 && i < width && j < height) marks[j * width + i] = 1;
      }
    }
  }
}
