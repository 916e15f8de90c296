import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Bracket, Homography } from "../../src/bracket/bracket.js";
import { memoryPixels } from "../../src/bracket/pixels.js";
import { buildProxy } from "../../src/bracket/proxy.js";
import type { Radiance } from "../../src/image.js";
import { ghostMap } from "../../src/reconstruct/ghost-map.js";

const WIDTH = 120;
const HEIGHT = 80;
type Scene = (x: number, y: number) => number;
const still: Scene = (x, y) => 0.1 * (1 + 0.5 * Math.sin(x * 0.15)) * (1 + 0.3 * Math.cos(y * 0.2));
const withSquare: Scene = (x, y) => (x >= 30 && x < 50 && y >= 20 && y < 40 ? 0.02 : still(x, y));

interface Seen {
  readonly scene: Scene;
  readonly ev: number;
  /** What the camera makes of linear light. */
  readonly curve?: (light: number) => number;
  readonly alignment?: Homography;
}

function mapOf(result: Scene, others: readonly Seen[], longest = 1024) {
  const fill = (scene: Scene, ev: number, curve = (light: number) => light) =>
    Float32Array.from({ length: WIDTH * HEIGHT * 3 }, (_, i) => {
      const pixel = Math.floor(i / 3);
      return curve(Math.min(1, scene(pixel % WIDTH, Math.floor(pixel / WIDTH)) * 2 ** ev));
    });
  const format = {
    width: WIDTH,
    height: HEIGHT,
    depth: "float32",
    encoding: { transfer: "linear", primaries: "srgb" },
  } as const;
  const seen: Seen[] = [{ scene: result, ev: 0 }, ...others];
  const exposures = seen.map(({ scene, ev, curve, alignment }, i) => ({
    name: `${i}`,
    pixels: memoryPixels(format, fill(scene, ev, curve)),
    exposureValue: ev,
    exposureSource: "given" as const,
    ...(alignment && { alignment }),
  }));
  const bracket: Bracket = { width: WIDTH, height: HEIGHT, exposures, reference: 0, notes: [], close() {} };
  const radiance = { ...format, channels: 3, data: fill(result, 0), metadata: {} } as unknown as Radiance;
  return ghostMap(
    bracket,
    exposures.map(({ pixels }) => buildProxy(pixels)),
    radiance,
    longest,
  );
}

/** The mean over the inside of the square, and over the rest at a distance. */
function means({ width, height, data }: ReturnType<typeof mapOf>): [inside: number, outside: number] {
  const [sums, counts] = [
    [0, 0],
    [0, 0],
  ];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [fx, fy] = [(x * WIDTH) / width, (y * HEIGHT) / height];
      const inside = fx >= 32 && fx < 48 && fy >= 22 && fy < 38;
      if (!inside && fx >= 26 && fx < 54 && fy >= 16 && fy < 44) continue;
      sums[inside ? 0 : 1] += data[y * width + x];
      counts[inside ? 0 : 1]++;
    }
  }
  return [sums[0] / counts[0], sums[1] / counts[1]];
}

describe("the ghost map", () => {
  it("is empty where all exposures tell the same", () => {
    const { width, height, data } = mapOf(still, [{ scene: still, ev: 2 }]);
    assert.deepEqual([width, height], [WIDTH, HEIGHT]);
    assert.ok(data.every((value) => value === 0));
  });

  it("shows what only the reference saw, by how many deny it", () => {
    const [all, outside] = means(
      mapOf(still, [
        { scene: withSquare, ev: 1 },
        { scene: withSquare, ev: 2 },
      ]),
    );
    assert.ok(all > 0.95 && outside < 0.01, `${all} ${outside}`);
    const [half] = means(
      mapOf(still, [
        { scene: withSquare, ev: 1 },
        { scene: still, ev: 2 },
      ]),
    );
    assert.ok(Math.abs(half - 0.5) < 0.05, `${half}`);
  });

  it("does not take a tone curve for a ghost", () => {
    const curve = (light: number) => light ** 0.7 * 0.9;
    const [inside, outside] = means(mapOf(still, [{ scene: withSquare, ev: 1, curve }]));
    assert.ok(inside > 0.8 && outside < 0.03, `${inside} ${outside}`);
  });

  it("asks no exposure that clips or is black there", () => {
    const { data } = mapOf(still, [
      { scene: () => 1, ev: 4 },
      { scene: () => 1e-4, ev: 0 },
    ]);
    assert.ok(data.every((value) => value === 0));
  });

  it("follows the alignment, and can be made small", () => {
    const moved: Scene = (x, y) => still(x - 12, y - 5);
    const alignment: Homography = [1, 0, 12, 0, 1, 5, 0, 0, 1];
    const [, wrong] = means(mapOf(still, [{ scene: moved, ev: 1 }]));
    const [, right] = means(mapOf(still, [{ scene: moved, ev: 1, alignment }]));
    assert.ok(wrong > 0.05 && right < 0.01, `${wrong} ${right}`);
    const small = mapOf(still, [{ scene: withSquare, ev: 1 }], 60);
    assert.deepEqual([small.width, small.height], [60, 40]);
    assert.ok(means(small)[0] > 0.8);
  });
});
