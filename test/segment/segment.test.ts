import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SmhdrError } from "../../src/errors.js";
import { displayValues, segmentGraph } from "../../src/segment/graph.js";
import { decodeNpy, encodeNpy } from "../../src/segment/npy.js";
import { cleanSegments, segmentPhotograph } from "../../src/segment/segment-map.js";

const width = 120;
const height = 90;

/** 0 background, 1 disc, 2 square, 3 a dot of 16 pixels. */
function shapeAt(x: number, y: number): number {
  if ((x - 35) ** 2 + (y - 40) ** 2 < 26 ** 2) return 1;
  if (x >= 75 && x < 110 && y >= 30 && y < 65) return 2;
  return x >= 100 && x < 104 && y >= 5 && y < 9 ? 3 : 0;
}

const colours = [
  [60, 70, 80],
  [200, 90, 60],
  [70, 180, 90],
  [250, 250, 250],
];

function picture(scale: number, noise = 4): Float32Array {
  let state = 1;
  const rgb = new Float32Array(width * height * 3);
  for (let i = 0; i < rgb.length; i++) {
    const p = Math.floor(i / 3);
    state = (Math.imul(state, 1103515245) + 12345) | 0;
    rgb[i] = scale * (colours[shapeAt(p % width, Math.floor(p / width))][i % 3] + noise * ((state >>> 16) / 32768 - 1));
  }
  return rgb;
}

/** Share of the pixels of `shape` that carry its commonest label, and that label. */
function purity(labels: ArrayLike<number>, shape: number): [number, number] {
  const counts = new Map<number, number>();
  let total = 0;
  for (let p = 0; p < width * height; p++) {
    if (shapeAt(p % width, Math.floor(p / width)) !== shape) continue;
    counts.set(labels[p], (counts.get(labels[p]) ?? 0) + 1);
    total++;
  }
  const [label, count] = [...counts].sort((a, b) => b[1] - a[1])[0];
  return [count / total, label];
}

test("shapes of one colour become one segment each", () => {
  const { labels, count } = segmentGraph(picture(1), width, height, { sigma: 0, minimumSize: 10 });
  assert.equal(count, 4);
  const found = [0, 1, 2, 3].map((shape) => purity(labels, shape));
  assert.ok(
    found.slice(0, 3).every(([share]) => share > 0.97),
    `purities ${found}`,
  );
  assert.equal(new Set(found.map(([, label]) => label)).size, 4);
});

test("segments below the smallest size join a neighbour", () => {
  assert.equal(segmentGraph(picture(1), width, height, { sigma: 0, minimumSize: 30 }).count, 3);
  assert.equal(segmentGraph(picture(1), width, height, { minimumSize: width * height }).count, 1);
});

test("a flat picture is one segment, and every pixel of any picture has a label", () => {
  const flat = segmentGraph(new Float32Array(16 * 16 * 3).fill(9), 16, 16);
  assert.equal(flat.count, 1);
  const { labels, count } = segmentGraph(picture(1, 120), width, height, { scale: 20, minimumSize: 1 });
  assert.ok(count > 10 && labels.every((label) => label >= 0 && label < count));
  assert.equal(new Set(labels).size, count);
});

test("linear light of any scale is segmented alike", () => {
  const at = (scale: number) => segmentGraph(displayValues(picture(scale), 70 * scale), width, height).labels;
  assert.deepEqual(at(1000), at(1000 * 2 ** -10));
});

test("small segments become the background, the others count down from the largest", () => {
  const codes = Uint16Array.from(picture(257), (v) => Math.max(0, Math.min(65535, v)));
  const map = segmentPhotograph(codes, width, height, 50, { minimumSize: 10 });
  // Background wall 7400, disc 2100, square 1225, dot 16 pixels.
  assert.deepEqual([...new Set(map.ids)].sort(), [50, 51, 52, 53]);
  assert.equal(map.count, 4);
  assert.deepEqual(
    [0, 1, 2, 3].map((shape) => purity(map.ids, shape)[1]),
    [51, 52, 53, 50],
  );
});

test("ids that float32 cannot tell apart are refused", () => {
  const one = { width: 1, height: 1, labels: new Int32Array(1), count: 1 };
  assert.throws(() => cleanSegments(one, 2 ** 24 - 1, 1), /2\^24/);
  assert.throws(() => cleanSegments(one, -1, 1), SmhdrError);
});

test(".npy files read back, and damaged ones are refused", () => {
  const data = Float32Array.from({ length: 6 }, (_, i) => i * 1.5);
  const bytes = encodeNpy(data, [2, 3, 1]);
  assert.equal((bytes.length - 24) % 64, 0);
  assert.deepEqual(decodeNpy(bytes), { shape: [2, 3, 1], data });
  assert.deepEqual(decodeNpy(encodeNpy(data, [6])).shape, [6]);
  const fails = (damaged: Uint8Array, pattern: RegExp) => assert.throws(() => decodeNpy(damaged), pattern);
  fails(bytes.subarray(0, 5), /NUMPY/);
  fails(bytes.subarray(0, 40), /cut off/);
  fails(bytes.subarray(0, bytes.length - 1), /needs 24 bytes, 23 follow/);
  fails(Buffer.from(Buffer.from(bytes).toString("latin1").replace("<f4", "<c8"), "latin1"), /<c8/);
  fails(Buffer.from(Buffer.from(bytes).toString("latin1").replace("descr", "xxxxx"), "latin1"), /header/);
});

test(".npy files go to NumPy and come back", (t) => {
  const python = process.env.SMHDR_PYTHON ?? "python3";
  if (spawnSync(python, ["-c", "import numpy"]).status !== 0)
    return t.skip(`${python} has no NumPy (SMHDR_PYTHON names another)`);
  const folder = mkdtempSync(join(tmpdir(), "smhdr-npy-"));
  try {
    const path = join(folder, "masks.npy");
    writeFileSync(
      path,
      encodeNpy(
        Float32Array.from({ length: 12 }, (_, i) => i),
        [4, 3, 1],
      ),
    );
    const script = `
import numpy, sys
a = numpy.load(sys.argv[1])
assert a.dtype == numpy.float32 and a.shape == (4, 3, 1) and (a.ravel() == numpy.arange(12)).all()
numpy.save(sys.stdout.buffer, a.astype("<i4") * 2)`;
    const { stdout, stderr, status } = spawnSync(python, ["-c", script, path]);
    assert.equal(status, 0, stderr.toString());
    const back = decodeNpy(stdout);
    assert.deepEqual(back.shape, [4, 3, 1]);
    assert.deepEqual(
      [...back.data],
      Array.from({ length: 12 }, (_, i) => 2 * i),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
