import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decodeRadianceHdr } from "../../src/codec/radiance-hdr.js";

const HEADER = "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n";

function hdr(header: string, resolution: string, pixels: readonly number[]): Uint8Array {
  return Buffer.concat([Buffer.from(`${header}${resolution}\n`, "latin1"), Buffer.from(pixels)]);
}

/** Flat RGBE pixels whose red mantissas are the given ones, worth 1 each. */
const flat = (...reds: number[]) => reds.flatMap((red) => [red, 0, 0, 136]);
const redsOf = (data: ArrayLike<number>) => Array.from(data).filter((_, i) => i % 3 === 0);

test("the golden file holds its picture", () => {
  const golden = new URL("../golden/", import.meta.url);
  const file = readFileSync(new URL("reference_images.safetensors", golden));
  const length = Number(file.readBigUInt64LE(0));
  const start = 8 + length + JSON.parse(file.toString("utf8", 8, 8 + length)).gt.data_offsets[0];
  const image = decodeRadianceHdr(readFileSync(new URL("radiance_writer_ref.hdr", golden)));
  assert.deepEqual([image.width, image.height, image.channels, image.encoding.primaries], [64, 48, 3, "srgb"]);
  const size = 64 * 48;
  for (let i = 0; i < size; i++) {
    const expected = [0, 1, 2].map((c) => file.readFloatLE(start + 4 * (c * size + i)));
    const most = Math.max(...expected);
    expected.forEach((value, c) => {
      assert.ok(
        Math.abs(image.data[3 * i + c] - value) <= most / 128,
        `pixel ${i}: ${image.data[3 * i + c]}, ${value}`,
      );
    });
  }
});

test("flat pixels, and runs of the old kind", () => {
  assert.deepEqual(redsOf(decodeRadianceHdr(hdr(HEADER, "-Y 1 +X 3", flat(128, 200, 255))).data), [128, 200, 255]);
  const run = [...flat(128), 1, 1, 1, 2, ...flat(9)];
  assert.deepEqual(redsOf(decodeRadianceHdr(hdr(HEADER, "-Y 1 +X 4", run)).data), [128, 128, 128, 9]);
  // Two runs in a row: the second counts in 256s.
  const long = [...flat(7), 1, 1, 1, 3, 1, 1, 1, 1, ...flat(8)];
  const reds = redsOf(decodeRadianceHdr(hdr(HEADER, "-Y 1 +X 261", long)).data);
  assert.deepEqual([reds.slice(0, 260).every((red) => red === 7), reds[260]], [true, 8]);
});

test("runs of the new kind, and lines too short for them", () => {
  const component = (value: number) => [128 + 6, value, 2, value + 1, value + 2];
  const line = [2, 2, 0, 8, ...component(10), ...component(20), ...component(30), ...component(134)];
  const { data } = decodeRadianceHdr(hdr(HEADER, "-Y 1 +X 8", line));
  assert.deepEqual(
    [...data.slice(15, 24)],
    [10, 20, 30]
      .map((v) => v / 4)
      .concat(
        [11, 21, 31].map((v) => v / 2),
        [12, 22, 32],
      ),
  );
  assert.deepEqual(redsOf(decodeRadianceHdr(hdr(HEADER, "-Y 1 +X 1", [2, 2, 0, 136])).data), [2]);
});

test("all eight orientations show the same picture", () => {
  // a b c / d e f
  const files: [string, number[]][] = [
    ["-Y 2 +X 3", [1, 2, 3, 4, 5, 6]],
    ["+Y 2 +X 3", [4, 5, 6, 1, 2, 3]],
    ["-Y 2 -X 3", [3, 2, 1, 6, 5, 4]],
    ["+Y 2 -X 3", [6, 5, 4, 3, 2, 1]],
    ["+X 3 -Y 2", [1, 4, 2, 5, 3, 6]],
    ["+X 3 +Y 2", [4, 1, 5, 2, 6, 3]],
    ["-X 3 -Y 2", [3, 6, 2, 5, 1, 4]],
    ["-X 3 +Y 2", [6, 3, 5, 2, 4, 1]],
  ];
  for (const [resolution, order] of files) {
    const image = decodeRadianceHdr(hdr(HEADER, resolution, flat(...order.map((i) => i + 10))));
    assert.deepEqual([image.width, image.height, redsOf(image.data)], [3, 2, [11, 12, 13, 14, 15, 16]], resolution);
  }
});

test("EXPOSURE, COLORCORR, PRIMARIES, FORMAT", () => {
  const with_ = (lines: string) => decodeRadianceHdr(hdr(`#?RGBE\n${lines}\n\n`, "-Y 1 +X 1", [100, 60, 40, 136]));
  assert.deepEqual([...with_("EXPOSURE=2\nEXPOSURE= 5\nCOLORCORR=1 2 4").data], [10, 3, 1]);
  assert.equal(with_("PRIMARIES=0 0 0 0 0 0 0 0").encoding.primaries, "srgb");
  assert.equal(with_("PRIMARIES=0.708 0.292 0.170 0.797 0.131 0.046 0.3127 0.3290").encoding.primaries, "rec2020");
  const xyz = with_("FORMAT=32-bit_rle_xyze").encoding.primaries;
  assert.ok(typeof xyz === "object" && xyz.red[0] === 1 && xyz.green[1] === 1);
});

test("damaged files are refused", () => {
  const refused = (bytes: Uint8Array, message: RegExp) =>
    assert.throws(() => decodeRadianceHdr(bytes), { name: "SmhdrError", code: "BAD_INPUT", message });
  refused(Buffer.from("P6 not a radiance file"), /"#\?"/);
  refused(Buffer.from("#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n"), /without an end/);
  refused(hdr(HEADER, "-Y two +X 3", flat(1)), /resolution/);
  refused(hdr(HEADER, "-Y 2 +Y 3", flat(1)), /resolution/);
  refused(hdr(HEADER, "-Y 0 +X 3", flat(1)), /resolution/);
  refused(hdr("#?RADIANCE\nFORMAT=jpeg\n\n", "-Y 1 +X 1", flat(1)), /FORMAT/);
  refused(hdr("#?RADIANCE\nEXPOSURE=0\n\n", "-Y 1 +X 1", flat(1)), /EXPOSURE/);
  refused(hdr("#?RADIANCE\nEXPOSURE=bright\n\n", "-Y 1 +X 1", flat(1)), /EXPOSURE/);
  refused(hdr(HEADER, "-Y 9999999 +X 9999999", flat(1)), /cut off/);
  refused(hdr(HEADER, "-Y 1 +X 4", [1, 1, 1, 2, ...flat(1)]), /damaged/);
  refused(hdr(HEADER, "-Y 1 +X 4", [...flat(1), 1, 1, 1, 200]), /damaged/);
  const line = [2, 2, 0, 8, 136, 1, 136, 2, 136, 3, 136, 4];
  assert.equal(decodeRadianceHdr(hdr(HEADER, "-Y 1 +X 8", line)).width, 8);
  for (let length = 0; length < line.length; length++)
    refused(hdr(HEADER, "-Y 1 +X 8", line.slice(0, length)), /cut off/);
  refused(hdr(HEADER, "-Y 1 +X 8", [2, 2, 0, 8, 137, 1, ...line.slice(6)]), /damaged/);
});
