import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { decodeOpenExr } from "../../src/codec/openexr.js";
import { readExrHeader } from "../../src/codec/openexr-header.js";
import { readRadiance } from "../../src/codec/read-radiance.js";
import { decodeWithThree } from "../../src/codec/three-exr.js";
import { SmhdrError } from "../../src/errors.js";
import { writeOpenExr } from "../../src/output/write-openexr.js";
import { hasCommand, PYTHON, readWithOpenCv, someRadiance, temporaryFolder } from "../output/radiance.js";

const DATA = join(process.env.SMHDR_DATA ?? "../shared/data", "exr");
/** B44A and B44; tiled, one level and many, rounded down and up; ZIP with chromaticities; PIZ. */
const RGB = ["Adjuster", "Cannon", "Bonita", "StageEnvLatLong", "Carrots", "Rec709"];
/** B44 and PIZ. */
const LUMINANCE_CHROMA = ["Flowers.exr", "MtTamNorth.exr"];

test("OpenEXR's sample pictures: as OpenCV reads them", { skip: !existsSync(DATA) && `no ${DATA}` }, async (t) => {
  const folder = temporaryFolder(t);
  const files = RGB.map((name) => join(DATA, `${name}.exr`));
  const expected = readWithOpenCv(files, folder);
  if (!expected) return t.skip("no Python whose OpenCV has OpenEXR here");
  for (let i = 0; i < files.length; i++) {
    const image = await readRadiance(files[i]);
    assert.equal(Buffer.compare(bytesOf(image.data as Float32Array), bytesOf(expected[i])), 0, files[i]);
    const own = basename(files[i]) === "Carrots.exr";
    assert.equal(typeof image.encoding.primaries, own ? "object" : "string");
  }
});

function bytesOf(values: Float32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

test("luminance/chroma pictures: as OpenEXR's library reads them", {
  skip: !existsSync(DATA) && `no ${DATA}`,
}, async (t) => {
  if (!hasCommand("convert", "-version")) return t.skip("no ImageMagick here");
  for (const name of LUMINANCE_CHROMA) {
    const run = spawnSync(
      "convert",
      [join(DATA, name), "-colorspace", "RGB", "-set", "colorspace", "sRGB", "-depth", "16", "rgb:-"],
      { maxBuffer: 1e8 },
    );
    assert.equal(run.status, 0, String(run.stderr));
    const codes = new Uint16Array(new Uint8Array(run.stdout).buffer);
    const { data } = await readRadiance(join(DATA, name));
    assert.equal(data.length, codes.length);
    // The library also calms single oversaturated pixels (fixSaturation), which this reader leaves alone.
    let sum = 0;
    let off = 0;
    for (let i = 0; i < codes.length; i++) {
      const error = Math.abs(Math.min(1, data[i]) - codes[i] / 65535);
      sum += error;
      if (error > 0.005) off++;
    }
    assert.ok(
      sum / codes.length < 5e-4 && off / codes.length < 0.01,
      `${name}: mean ${sum / codes.length}, ${off} off`,
    );
  }
});

test("what OpenCV writes at every compression: as OpenCV reads it", async (t) => {
  const folder = temporaryFolder(t);
  const program = `
import os, sys
os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"
import cv2, numpy
rows, columns = numpy.mgrid[0:67, 0:45].astype(numpy.float32)
image = numpy.stack([numpy.exp2(columns / 9 - 4), 1 + numpy.sin(rows / 5), rows * columns / 900], axis=2)
image[20:40, 10:30] = 0.5
for depth in ("HALF", "FLOAT"):
    for name in ("NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB"):
        options = [cv2.IMWRITE_EXR_TYPE, getattr(cv2, "IMWRITE_EXR_TYPE_" + depth)]
        options += [cv2.IMWRITE_EXR_COMPRESSION, getattr(cv2, "IMWRITE_EXR_COMPRESSION_" + name)]
        cv2.imwrite(f"{sys.argv[1]}/{depth}-{name}.exr", image.astype(numpy.float32), options)
`;
  if (!readWithOpenCv([], folder)) return t.skip("no Python whose OpenCV has OpenEXR here");
  assert.equal(spawnSync(PYTHON, ["-c", program, folder], { stdio: "inherit" }).status, 0);
  const files = readdirSync(folder).sort();
  assert.equal(files.length, 20);
  const expected = readWithOpenCv(
    files.map((name) => join(folder, name)),
    folder,
  );
  for (const [i, name] of files.entries()) {
    const { data } = await readRadiance(join(folder, name));
    // Lossy DWA ends in a cosine transform, whose last bit is each reader's own.
    const most = name.includes("DWA") ? 2e-3 : 0;
    data.forEach((value, k) => {
      const want = expected?.[i][k] as number;
      assert.ok(Math.abs(value - want) <= most * Math.max(1, want), `${name}: ${value}, not ${want}, at ${k}`);
    });
  }
});

test("damaged files are refused, and never crash or hang", async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, "a.exr");
  await writeOpenExr(someRadiance(20, 40), path);
  const whole = readFileSync(path);
  assert.equal((await decodeOpenExr(whole)).height, 40);
  const refuse = async (bytes: Uint8Array, what: string) => {
    try {
      await decodeOpenExr(bytes);
      return false;
    } catch (error) {
      assert.ok(error instanceof SmhdrError && ["BAD_INPUT", "UNSUPPORTED"].includes(error.code), `${what}: ${error}`);
      return true;
    }
  };
  for (let length = 0; length < whole.length; length += 13) {
    assert.ok(await refuse(whole.subarray(0, length), `cut to ${length}`), `cut to ${length} bytes it was read`);
  }
  // A changed byte may go unnoticed (a pixel changes); what must not happen is any other kind of error.
  for (let at = 4; at < whole.length; at += 3) {
    const bytes = Buffer.from(whole);
    bytes[at] ^= 0x5a;
    await refuse(bytes, `byte ${at}`);
  }
});

test("a damaged file that three's loader never comes to an end with is given up", async () => {
  const bytes = readFileSync(new URL("endless.exr", import.meta.url)); // DWA, three bytes changed
  await assert.rejects(decodeWithThree(bytes, readExrHeader(bytes), 1500), {
    code: "BAD_INPUT",
    message: /does not end/,
  });
});

test("what is not read is named", async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, "a.exr");
  await writeOpenExr(someRadiance(8, 8), path);
  const renamed = readFileSync(path);
  renamed.write("Z", renamed.indexOf("chlist\0") + 11, "latin1");
  await assert.rejects(decodeOpenExr(renamed), { code: "UNSUPPORTED", message: /channels Z, G, R/ });
  const huge = readFileSync(path);
  huge.writeInt32LE(1 << 30, huge.indexOf("box2i\0") + 6 + 4 + 8);
  await assert.rejects(decodeOpenExr(huge), { code: "UNSUPPORTED", message: /pixels/ });
  writeFileSync(path, "neither");
  await assert.rejects(readRadiance(path), {
    code: "BAD_INPUT",
    message: /a\.exr: neither an OpenEXR nor a Radiance file/,
  });
  await assert.rejects(readRadiance(join(folder, "none.exr")), { code: "IO", message: /none\.exr/ });
});
