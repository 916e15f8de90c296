import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { halfValues } from "../../src/codec/half.js";
import { decodeOpenExr } from "../../src/codec/openexr.js";
import { file, HEIGHT, luminance, packings, predict, WIDTH } from "./luminance-chroma-files.js";

for (const [name, number, lines, pack] of packings) {
  test(`luminance/chroma with ${name}`, async () => {
    const values = halfValues();
    const grey = await decodeOpenExr(file(number, lines, [0, 0], pack));
    assert.deepEqual([grey.width, grey.height], [WIDTH, HEIGHT]);
    // BY = -0.5 and RY = 0.25: blue is half of the luminance, red five quarters.
    const coloured = await decodeOpenExr(file(number, lines, [0xb800, 0x3400], pack));
    luminance.forEach((code, i) => {
      const y = values[code];
      for (let c = 0; c < 3; c++) assert.ok(Math.abs(grey.data[3 * i + c] - y) < 1e-5);
      const [red, green, blue] = coloured.data.subarray(3 * i, 3 * i + 3);
      assert.ok(Math.abs(red - 1.25 * y) < 1e-4 && Math.abs(blue - 0.5 * y) < 1e-4, `${red} ${blue} of ${y}`);
      assert.ok(Math.abs(0.2126 * red + 0.7152 * green + 0.0722 * blue - y) < 1e-3);
    });
  });
}

test("damaged luminance/chroma blocks are refused", async () => {
  for (const [, number, lines, pack] of packings.slice(1)) {
    const whole = file(number, lines, [0, 0], pack);
    for (let length = whole.length - 1; length > 0; length -= 7) {
      await assert.rejects(decodeOpenExr(whole.subarray(0, length)), { code: "BAD_INPUT" });
    }
  }
  const zip = file(3, 16, [0, 0], (block) => deflateSync(predict(block)));
  zip.fill(0, zip.length - 40);
  await assert.rejects(decodeOpenExr(zip), { code: "BAD_INPUT" });
});
