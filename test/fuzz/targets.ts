import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, TypeProtoSchema, ValueInfoProtoSchema } from "onnx-buf";
import sharp from "sharp";
import { readColour } from "../../src/bracket/colour.js";
import { readProfile } from "../../src/bracket/icc.js";
import { readCameraSettings } from "../../src/bracket/metadata.js";
import { rgbToXyz } from "../../src/codec/chromaticities.js";
import { decodeOpenExr } from "../../src/codec/openexr.js";
import { decodesBlocks } from "../../src/codec/openexr-blocks.js";
import { readExrHeader } from "../../src/codec/openexr-header.js";
import { decodeRadianceHdr } from "../../src/codec/radiance-hdr.js";
import type { Encoding, Image } from "../../src/image.js";
import { decodeCheckpoint } from "../../src/model/checkpoint/checkpoint.js";
import { decodeOnnx } from "../../src/model/onnx/read.js";
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from "../../src/model/safetensors.js";
import { iccProfile } from "../../src/output/icc-profile.js";
import { writeOpenExr } from "../../src/output/write-openexr.js";
import { writeRadianceHdr } from "../../src/output/write-radiance-hdr.js";
import { decodeNpy, encodeNpy } from "../../src/segment/npy.js";
import { understandCheckpoint } from "../../src/train/checkpoint.js";
import { makeConfig, parseJson } from "../../src/train/config.js";
import { parseExposureValues } from "../../src/train/dataset.js";
import { profile } from "../bracket/profiles.js";
import { file as luminanceChroma, packings } from "../codec/luminance-chroma-files.js";
import { floats, legacyCheckpoint, tensor, zipCheckpoint } from "../model/checkpoint-files.js";
import { someRadiance } from "../output/radiance.js";
import type { Target } from "./target.js";

const text = (...lines: string[]) => lines.map((line) => Buffer.from(line));

/** The bytes that `write` makes of a path. */
async function written(write: (path: string) => Promise<unknown>): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), "smhdr-seed-"));
  try {
    await write(join(folder, "seed"));
    return await readFile(join(folder, "seed"));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function checkTensors(tensors: ReadonlyMap<string, StoredTensor>): void {
  for (const { shape, data } of tensors.values())
    assert.equal(
      data.length,
      shape.reduce((product, size) => product * size, 1),
    );
}

function checkImage({ width, height, channels, data, encoding }: Image): void {
  assert.ok(width >= 1 && height >= 1 && data.length === width * height * channels);
  checkEncoding(encoding);
}

/** Every curve is one that the merge takes, every set of primaries can be converted. */
function checkEncoding({ transfer, primaries }: Encoding): void {
  if (typeof transfer === "object") {
    const { table } = transfer;
    assert.ok(table.length >= 2 && table.every((v, i) => v >= 0 && v <= 1 && !(v < table[i - 1])));
  }
  // CIE XYZ's own primaries, of Radiance files, are meant.
  if (typeof primaries === "object") assert.ok(rgbToXyz(primaries).every(Number.isFinite), JSON.stringify(primaries));
}

const stored = { "0": floats(1, 2, 3, 4, 5, 6), "1": floats(7) };
const weights = new Map<string, unknown>([
  ["epoch", 12],
  ["state_dict", new Map([["module.a.weight", tensor("0", stored["0"], [2, 3], [3, 1])]])],
]);

const trainingMetadata = {
  format: "smhdr training checkpoint 1",
  config: '{"preset":"tiny"}',
  fingerprint: "a",
  position: '{"epoch":1,"batches":2,"steps":2,"skipped":0,"seconds":1.5,"measured":0,"validated":{"epoch":1}}',
  steps: "2",
  random: "123456789",
  quality: "[[0,[[1,30.5],[2,12]]]]",
};
const oneTensor = new Map([["parameters/a", { shape: [2], data: Float32Array.of(1, 2) }]]);

const photograph = () =>
  sharp({ create: { width: 8, height: 8, channels: 3, background: "#808080" } }).withExif({
    IFD2: { ExposureTime: "1/250", FNumber: "8/1", ISOSpeedRatings: "100" },
  });

const exr = (width: number, height: number, options = {}) =>
  written((path) => writeOpenExr(someRadiance(width, height), path, options));

export const targets: readonly Target[] = [
  {
    name: "safetensors",
    factor: 64,
    parse(bytes) {
      const { tensors, metadata } = decodeSafetensors(bytes);
      checkTensors(tensors);
      if (tensors.has("__proto__") || tensors.has("__metadata__")) return;
      const again = decodeSafetensors(encodeSafetensors(tensors, metadata));
      assert.deepEqual([...again.tensors], [...tensors]);
      assert.deepEqual(again.metadata, metadata);
    },
    seeds: async () => [
      encodeSafetensors(oneTensor, { a: "b" }),
      encodeSafetensors(new Map()),
      ...text(
        '\x4a\0\0\0\0\0\0\0{"h":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]},"i":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}1234',
      ),
    ],
  },
  {
    name: "checkpoint",
    factor: 128,
    async parse(bytes) {
      checkTensors((await decodeCheckpoint(bytes)).tensors);
    },
    seeds: async () => [zipCheckpoint(weights, stored), legacyCheckpoint(weights, stored)],
  },
  {
    name: "openexr",
    factor: 8000,
    longest: 16384,
    async parse(bytes) {
      // What three's loader reads it reads in a thread of its own: out of the fuzzer's sight.
      if (!decodesBlocks(readExrHeader(bytes))) return;
      checkImage(await decodeOpenExr(bytes));
    },
    seeds: async () => [
      await exr(9, 20),
      await exr(5, 3, { precision: "float" }),
      await exr(3, 2, { compression: "none" }),
      ...(await exrVariants()),
      ...packings.map(([, number, lines, pack]) => luminanceChroma(number, lines, [0xb800, 0x3400], pack)),
    ],
  },
  {
    name: "radiance",
    factor: 13000,
    parse: (bytes) => checkImage(decodeRadianceHdr(bytes)),
    seeds: async () => [
      await written((path) => writeRadianceHdr(someRadiance(20, 5), path)),
      ...text(
        "#?RGBE\nEXPOSURE=2\nCOLORCORR=1 2 3\nFORMAT=32-bit_rle_xyze\n\n+X 2 -Y 2\n\x01\x02\x03\x20\x01\x01\x01\x01\x05\x06\x07\x20aaaa",
      ),
    ],
  },
  {
    name: "npy",
    factor: 64,
    parse(bytes) {
      const { shape, data } = decodeNpy(bytes);
      checkTensors(new Map([["a", { shape, data: data as Float32Array }]]));
      if (!(data instanceof Float32Array)) return;
      assert.deepEqual(Buffer.from(decodeNpy(encodeNpy(data, shape)).data.buffer), Buffer.from(data.buffer));
    },
    seeds: async () => [encodeNpy(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3, 1]), encodeNpy(Float32Array.of(1), [1])],
  },
  {
    name: "exposures",
    factor: 64,
    parse(bytes) {
      const values = parseExposureValues(bytes.toString("utf8"), "exposure.txt", 3);
      assert.ok(values.length === 3 && values.every((value) => Number.isFinite(2 ** (value - values[0]))));
    },
    seeds: async () => text("-2\n0\n2\n", "0, 1.5, 3e0"),
  },
  {
    name: "icc",
    factor: 64,
    parse(bytes) {
      const reading = readProfile(bytes);
      if (typeof reading === "object") checkEncoding(reading.encoding);
    },
    seeds: async () => [
      iccProfile("rec2020", "srgb"),
      iccProfile("srgb", "linear"),
      profile({ gammas: [1.8, 1.8, 1.8] }),
      profile({ gammas: [2.2], connection: "Lab " }),
      profile({ gammas: [2.2, 2.2, 2.2], whitePoint: [0.95, 1, 1.09] }),
    ],
  },
  {
    name: "colour",
    factor: 64,
    parse(bytes) {
      for (const format of ["png", "heif"] as const) {
        const { encoding } = readColour({ format, space: "srgb" } as never, bytes);
        if (encoding !== "convert") checkEncoding(encoding);
      }
    },
    seeds: async () => [
      await photograph().png().toBuffer(),
      Buffer.from("\x89PNG\r\n\x1a\n\0\0\0\x04gAMA\0\0\xb1\x8f1234\0\0\0\x04cICP\x09\x10\0\x011234", "latin1"),
      Buffer.from("....colrnclx\0\x09\0\x10\0\0\0", "latin1"),
    ],
  },
  {
    name: "exif",
    factor: 256,
    parse(bytes) {
      const { time, fNumber, iso } = readCameraSettings(bytes);
      for (const value of [time, fNumber, iso]) assert.ok(value === undefined || (value > 0 && Number.isFinite(value)));
    },
    seeds: async () => {
      const jpeg = await photograph().jpeg().toBuffer();
      const { exif } = await sharp(jpeg).metadata();
      return [exif as Buffer, jpeg, await photograph().tiff().toBuffer()];
    },
  },
  {
    name: "config",
    factor: 64,
    parse(bytes) {
      const config = makeConfig(parseJson(bytes.toString("utf8"), "config.json"));
      assert.deepEqual(makeConfig(parseJson(JSON.stringify(config), "again.json")), config);
    },
    seeds: async () =>
      text(
        '{"preset":"tiny","network":{"width":8,"heads":2,"outputBias":null},"rate":{"from":0.001,"to":0.0001}}',
        '{"masks":"random","trained":["conv"],"synthesis":{"evSpacing":[2,3.5],"size":64},"patch":16}',
        '{"curriculum":{"plain":0,"rising":1,"falling":0,"changing":false},"augmentation":{"flips":false,"colours":0.5}}',
      ),
  },
  {
    name: "training-checkpoint",
    factor: 64,
    parse(bytes) {
      const { position, quality, state } = understandCheckpoint(decodeSafetensors(bytes), "checkpoint.safetensors");
      assert.ok(Number.isFinite(position.epoch) && Number.isFinite(position.steps) && Number.isFinite(state.steps));
      for (const segments of quality.values()) for (const value of segments.values()) assert.ok(Number.isFinite(value));
    },
    seeds: async () => [encodeSafetensors(oneTensor, trainingMetadata)],
  },
  {
    name: "onnx",
    factor: 256,
    parse(bytes) {
      const { exposures, width, heads } = decodeOnnx(bytes, "a.onnx");
      assert.ok(exposures > 0 && width > 0 && heads > 0);
    },
    seeds: async () => [onnxFile()],
  },
];

function onnxFile(): Uint8Array {
  const value = (name: string, channels: number) =>
    create(ValueInfoProtoSchema, {
      name,
      type: create(TypeProtoSchema, {
        value: {
          case: "tensorType",
          value: {
            shape: { dim: [1, channels].map((n) => ({ value: { case: "dimValue" as const, value: BigInt(n) } })) },
          },
        },
      }),
    });
  const facts = { exposures: "3", width: "8", heads: "2" };
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      metadataProps: Object.entries(facts).map(([key, fact]) => ({ key, value: fact })),
      graph: {
        input: [value("exposures", 18), value("sums_mode", 1), value("given_sums", 1)],
        output: [value("radiance", 3), value("sums", 1)],
        initializer: [{ name: "sums_mode", dims: [1n], dataType: 1, floatData: [0] }],
      },
    }),
  );
}

/** Small files that say they are of the other compressions. */
async function exrVariants(): Promise<Buffer[]> {
  const whole = await exr(4, 4, { compression: "none" });
  const at = whole.indexOf("compression\0compression\0") + 28;
  return [1, 2, 4, 6, 7].map((number) => {
    const copy = Buffer.from(whole);
    copy[at] = number;
    return copy;
  });
}
