import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encoderInput, enlargeLogits } from "../../src/segment/sam/image.js";
import {
  type Mask,
  maskDefaults,
  paintMasks,
  pointGrid,
  selectMask,
  suppressDuplicates,
} from "../../src/segment/sam/mask-generator.js";
import { describeDecoder, describeEncoder, type TensorDescription } from "../../src/segment/sam/models.js";
import { normalisesInside } from "../../src/segment/sam/normalisation.js";
import { cleanSegments } from "../../src/segment/segment-map.js";
import { encoder } from "./stand-in.js";

test("the grid has a point in the middle of every cell", () => {
  const grid = pointGrid(32);
  assert.equal(grid.length, 2048);
  assert.deepEqual([...grid.slice(0, 4)], [1 / 64, 1 / 64, 3 / 64, 1 / 64]);
  assert.deepEqual([...grid.slice(64, 66)], [1 / 64, 3 / 64]);
  assert.deepEqual([...grid.slice(-2)], [63 / 64, 63 / 64]);
});

describe("which masks are good enough", () => {
  /** `sure` logits of 5, `unsure` of 0.5, `almost` of -0.5, the rest -5, in a row. */
  const row = (sure: number, unsure: number, almost: number) =>
    Float32Array.from({ length: 120 }, (_, i) =>
      i < sure ? 5 : i < sure + unsure ? 0.5 : i < sure + unsure + almost ? -0.5 : -5,
    );
  const select = (logits: Float32Array, iou = 0.95) => selectMask(logits, 120, 1, iou, maskDefaults);

  test("predicted IoU of at least 0.9, as float32 has it", () => {
    assert.ok(select(row(100, 0, 0), Math.fround(0.9)));
    assert.equal(select(row(100, 0, 0), 0.8999), undefined);
    assert.equal(select(row(100, 0, 0), Number.NaN), undefined);
  });

  test("stability of at least 0.92, counted one logit above and below", () => {
    assert.equal(select(row(92, 4, 4))?.stability, 0.92);
    assert.equal(select(row(91, 5, 4)), undefined);
    assert.equal(select(row(92, 8, 0))?.area, 100);
    assert.equal(select(row(92, 0, 8))?.area, 92);
    // Logits of exactly one and minus one are neither sure nor possible.
    const edge = Float32Array.of(...new Array(92).fill(5), ...new Array(8).fill(1), ...new Array(20).fill(-1));
    assert.equal(select(edge)?.stability, 0.92);
    assert.equal(select(row(0, 0, 0)), undefined);
    assert.equal(select(new Float32Array(120).fill(Number.NaN)), undefined);
  });

  test("box, area and pixels", () => {
    const logits = new Float32Array(5 * 4).fill(-9);
    for (const p of [6, 8, 11, 13]) logits[p] = 9; // columns 1 and 3 of rows 1 and 2
    const mask = selectMask(logits, 5, 4, 1, maskDefaults);
    assert.deepEqual([mask?.box, mask?.area, [...(mask?.bits ?? [])]], [[1, 1, 3, 2], 4, [0b101101]]);
  });
});

/** A full box. */
const box = (left: number, top: number, right: number, bottom: number, predictedIou = 0.95): Mask => {
  const area = (right - left + 1) * (bottom - top + 1);
  return {
    box: [left, top, right, bottom],
    area,
    bits: new Uint8Array(Math.ceil(area / 8)).fill(255),
    predictedIou,
    stability: 1,
  };
};

test("of masks whose boxes overlap by more than 0.7 the best stays", () => {
  const good = box(0, 0, 10, 10, 0.95);
  const atLimit = box(0, 0, 7, 10, 0.94); // 70 of 100
  const above = box(0, 0, 8, 10, 0.93); // 80 of 100
  const better = box(0, 0, 10, 9, 0.99); // 90 of 100
  const apart = box(30, 0, 40, 10, 0.91);
  const thin = box(50, 0, 50, 10, 0.9); // one column has no area here
  assert.deepEqual(suppressDuplicates([good, atLimit, above, apart, thin, thin], 0.7), [
    good,
    atLimit,
    apart,
    thin,
    thin,
  ]);
  // 90 of 100 suppress `good`, which therefore suppresses nothing; 63 of 97 leave `atLimit`.
  assert.deepEqual(suppressDuplicates([good, atLimit, better], 0.7), [better, atLimit]);
  const twin = { ...good };
  assert.equal(suppressDuplicates([good, twin], 0.7)[0], good);
});

test("masks are painted from the largest to the smallest, and what shows counts", () => {
  const [large, middle, small] = [box(0, 0, 49, 39), box(0, 0, 39, 29), box(35, 10, 44, 19)];
  const painted = paintMasks([small, large, middle], 60, 40);
  const shown = [0, 0, 0, 0];
  for (const label of painted.labels) shown[label]++;
  assert.deepEqual(shown, [400, 2000 - 1200 - 50, 1200 - 50, 100]);
  // 100 and 750 pixels are too few: they and the unpainted pixels are the background, whatever its size.
  const { ids, count } = cleanSegments(painted, 7, 1000);
  assert.equal(count, 2);
  assert.equal(ids.filter((id) => id === 7).length, 400 + 750 + 100);
  assert.equal(ids.filter((id) => id === 8).length, 1150);
});

test("small logits are enlarged as PyTorch does", () => {
  const low = Float32Array.from({ length: 16 }, (_, i) => Math.sin((i + 1) * 3));
  const full = enlargeLogits(low, 4, 4, { frame: 16, scale: 0.8, width: 16, height: 12 }, { width: 20, height: 15 });
  // torch.nn.functional.interpolate(bilinear, align_corners=False) to 16x16, cut to 12 rows, then to 15x20: every 23rd value.
  const expected = [
    0.14112, 0.057013, -0.212522, -0.025428, 0.437178, -0.18805, -0.831777, 0.711505, 0.125312, -0.671028, 0.204107,
    0.589832, -0.563637, -0.907957,
  ];
  assert.equal(full.length, 300);
  expected.forEach((value, i) => {
    assert.ok(Math.abs(full[23 * i] - value) < 1e-5, `${i}: ${full[23 * i]} is not ${value}`);
  });
});

describe("what models tell of themselves", () => {
  const tensor = (name: string, type: string, ...shape: (number | string)[]): TensorDescription => ({
    name,
    type,
    shape,
  });
  const embeddings = tensor("image_embeddings", "float32", 1, 256, 64, 64);
  const encoderOf = (...inputs: TensorDescription[]) =>
    describeEncoder({ file: "e.onnx", inputs, outputs: [embeddings] });

  test("encoders", () => {
    const planar = encoderOf(tensor("images", "float32", 1, 3, 1024, 1024));
    assert.deepEqual([planar.layout, planar.height, planar.width], ["NCHW", 1024, 1024]);
    const any = encoderOf(tensor("input_image", "uint8", "height", "width", 3));
    assert.deepEqual([any.layout, any.height, any.width, any.type], ["HWC", undefined, undefined, "uint8"]);
    assert.equal(encoderOf(tensor("pixel_values", "float32", "batch", "channels", "height", "width")).layout, "NCHW");
    assert.equal(encoderOf(tensor("x", "float32", 1, 684, 1024, 3)).layout, "NHWC");
    assert.throws(() => encoderOf(tensor("x", "float16", 1, 3, 1024, 1024)), {
      code: "UNSUPPORTED",
      message: /float16/,
    });
    assert.throws(() => encoderOf(tensor("x", "float32", 1, 1000)), {
      code: "UNSUPPORTED",
      message: /x float32 \[1, 1000\]/,
    });
  });

  test("decoders", () => {
    const points = [
      tensor("point_coords", "float32", 1, "num_points", 2),
      tensor("point_labels", "float32", 1, "num_points"),
    ];
    const masks = [tensor("masks", "float32", "a", "b", "c", "d"), tensor("iou_predictions", "float32", "a", "b")];
    const size = tensor("orig_im_size", "float32", 2);
    const sam = describeDecoder({ file: "d.onnx", inputs: [embeddings, ...points, size], outputs: masks });
    assert.deepEqual([sam.batch, sam.padded, sam.masks, sam.lowResolutionMasks], [1, true, "masks", undefined]);
    const small = describeDecoder({ file: "d.onnx", inputs: [embeddings, ...points], outputs: masks });
    assert.deepEqual([small.masks, small.lowResolutionMasks], [undefined, "masks"]);
    const more = tensor("boxes", "float32", 1, 4);
    assert.throws(() => describeDecoder({ file: "d.onnx", inputs: [embeddings, ...points, more], outputs: masks }), {
      code: "UNSUPPORTED",
      message: /boxes/,
    });
  });

  test("whether they normalise, by their graph", () => {
    assert.equal(normalisesInside(encoder({}), "image"), false);
    assert.equal(normalisesInside(encoder({ raw: true }), "image"), true);
    assert.equal(normalisesInside(encoder({ layout: "HWC" }), "image"), false);
    assert.equal(normalisesInside(encoder({ layout: "HWC", raw: true, anySize: true }), "image"), true);
  });
});

describe("what encoders are given", () => {
  const image = { width: 4, height: 2, data: Uint8Array.from({ length: 24 }, (_, i) => 10 * i) };
  const contract = { input: "image", embeddings: "e", positions: undefined, type: "float32" } as const;

  test("normalised, planar, filled up with zeros", async () => {
    const { data, dims, placement } = await encoderInput(
      image,
      { ...contract, layout: "NCHW", height: 4, width: 4 },
      false,
    );
    assert.deepEqual(dims, [1, 3, 4, 4]);
    assert.deepEqual(placement, { scale: 1, width: 4, height: 2, frame: 4 });
    assert.equal(data[0], Math.fround((0 - 123.675) / 58.395));
    assert.equal(data[16 + 5], Math.fround((160 - 116.28) / 57.12));
    assert.ok(data.slice(8, 16).every((value) => value === 0));
  });

  test("as they are, interleaved, filled up with the mean colour", async () => {
    const layout = { layout: "HWC", height: 2, width: 5 } as const;
    const { data, dims } = await encoderInput(image, { ...contract, ...layout, type: "uint8" }, true);
    assert.deepEqual(dims, [2, 5, 3]);
    assert.deepEqual([...data.slice(0, 15)], [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 124, 116, 104]);
  });

  test("any size: the longest side becomes 1024", async () => {
    const layout = { layout: "HWC", height: undefined, width: undefined } as const;
    const { dims, placement } = await encoderInput(image, { ...contract, ...layout }, true);
    assert.deepEqual([dims, placement], [[512, 1024, 3], { scale: 256, width: 1024, height: 512, frame: 1024 }]);
  });
});
