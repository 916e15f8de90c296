import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import sharp from "sharp";
import { readRadiance } from "../../src/codec/read-radiance.js";
import { optionalAddon } from "../../src/engine/addon.js";
import type { Radiance } from "../../src/image.js";
import { toneMap } from "../../src/output/tone-map.js";
import { OUTPUT_EXTENSIONS, writeImage } from "../../src/output/write-image.js";
import { packerOf } from "../../src/output/write-openexr.js";
import { encoderOf } from "../../src/output/write-radiance-hdr.js";
import { hasCommand, readWithOpenCv, someRadiance, temporaryFolder } from "./radiance.js";

const METADATA = {
  exposureValues: [0, 2, 4.5],
  reference: 1,
  method: "radiance",
  model: "grün\n1",
  software: "smhdr 9",
};

/** The largest error of each pixel, relative to its largest channel. */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  assert.equal(actual.length, expected.length);
  let worst = 0;
  for (let i = 0; i < expected.length; i += 3) {
    const most = Math.max(expected[i], expected[i + 1], expected[i + 2]);
    for (let c = i; c < i + 3; c++) worst = Math.max(worst, Math.abs(actual[c] - expected[c]) / most);
  }
  return worst;
}

const HALF = 2 ** -11;
const RGBE = 2 ** -8;

test("linear files come back within their precision, whatever the size", async (t) => {
  const folder = temporaryFolder(t);
  for (const [width, height] of [
    [1, 1],
    [7, 3],
    [8, 2],
    [129, 33],
    [32767, 1],
    [32768, 2],
  ]) {
    const radiance = someRadiance(width, height);
    const back = async (name: string, options = {}) => {
      await writeImage(radiance, join(folder, name), options);
      const image = await readRadiance(join(folder, name));
      assert.deepEqual([image.width, image.height, image.encoding], [width, height, radiance.encoding]);
      return image.data as Float32Array;
    };
    assert.deepEqual(await back("float.exr", { precision: "float" }), radiance.data);
    assert.deepEqual(await back("plain.exr", { precision: "float", compression: "none" }), radiance.data);
    assert.ok(relativeError(await back("half.exr"), radiance.data) <= HALF);
    assert.ok(relativeError(await back("rgbe.hdr"), radiance.data) <= RGBE);
  }
});

test("with and without the addon Radiance lines are the same, byte for byte", (t) => {
  const addon = optionalAddon();
  if (!addon) return t.skip("no addon here");
  const special = [
    0,
    -1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1e-40,
    2 ** -126,
    255.49 / 256,
    255.5 / 256,
    3e38,
    1e38,
  ];
  for (const width of [1, 7, 8, 9, 127, 128, 129, 500, 4000, 32767, 32768]) {
    const lines = 3;
    // Noise, runs of every length, slopes that repeat each byte a few times, and what floats can be besides.
    const rgb = Float32Array.from({ length: width * lines * 3 }, (_, i) => {
      const x = Math.floor(i / 3) % width;
      if (x % 11 === 3) return special[(i * 7) % special.length];
      const kind = Math.floor(x / 300) % 3;
      if (kind === 0) return ((i * 2654435761) % 4294967296) / 2 ** 31;
      return kind === 1 ? Math.floor(Math.sqrt(x)) / 100 : 0.5 + Math.floor(x / (1 + (x % 5))) / 3000;
    });
    const both: Uint8Array[] = [null, addon].map((given) => {
      const out = new Uint8Array(lines * (4 + 4 * (width + Math.ceil(width / 128))));
      return out.subarray(0, encoderOf(width, given)(rgb, out));
    });
    assert.deepEqual(both[1], both[0]);
  }
  const short = () => addon.encodeRgbe(new Float32Array(30), 10, new Uint8Array(47));
  assert.throws(short, { code: "INVALID_ARGUMENT" });
  assert.throws(() => addon.encodeRgbe(new Float32Array(31), 10, new Uint8Array(999)), { code: "INVALID_ARGUMENT" });
});

test("with and without the addon OpenEXR blocks are the same, byte for byte", (t) => {
  const addon = optionalAddon();
  if (!addon) return t.skip("no addon here");
  // Every half, what lies between two of them and on their borders, and what has none.
  const values = [
    Number.NaN,
    -Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    65504,
    65519.9,
    65520,
    1e30,
  ];
  values.push(0, -0, 2 ** -24, 2 ** -25, 1.5 * 2 ** -25, -(2 ** -26), 3 * 2 ** -25, 2 ** -14, 1 - 2 ** -12, 1e-45);
  const bits = new Uint32Array(3 * 4999 - values.length).map((_, i) => Math.imul(i + 1, 2654435761));
  const rgb = new Float32Array([...values, ...new Float32Array(bits.buffer)]);
  for (const width of [1, 2, 1666, 4999])
    for (const half of [true, false])
      for (const predicted of [true, false]) {
        const lines = rgb.subarray(0, rgb.length - (rgb.length % (3 * width)));
        const [plain, native]: Uint8Array[] = [null, addon].map((given) =>
          packerOf(width, half, predicted, given)(lines),
        );
        assert.deepEqual(
          native,
          plain,
          `${width} wide, ${half ? "halves" : "floats"}${predicted ? ", predicted" : ""}`,
        );
      }
  const wrong = [
    () => addon.packOpenExr(new Float32Array(30), 10, true, true, new Uint8Array(59)),
    () => addon.packOpenExr(new Float32Array(31), 10, true, true, new Uint8Array(62)),
    () => addon.packOpenExr(new Float32Array(0), 0, false, true, new Uint8Array(0)),
  ];
  for (const call of wrong) assert.throws(call, { code: "INVALID_ARGUMENT" });
});

test("OpenCV reads what was written", async (t) => {
  const folder = temporaryFolder(t);
  const radiance = someRadiance(131, 37);
  const files = ["half.exr", "float.exr", "plain.exr", "rgbe.hdr", "float.tif"].map((name) => join(folder, name));
  await writeImage(radiance, files[0]);
  await writeImage(radiance, files[1], { precision: "float" });
  await writeImage(radiance, files[2], { precision: "float", compression: "none" });
  await writeImage(radiance, files[3]);
  await writeImage(radiance, files[4]);
  const images = readWithOpenCv(files, folder);
  if (!images) return t.skip("no Python whose OpenCV has OpenEXR here");
  [HALF, 0, 0, RGBE, 0].forEach((precision, i) => {
    assert.ok(relativeError(images[i], radiance.data) <= precision, files[i]);
  });
});

test("ImageMagick reads what was written", async (t) => {
  if (!hasCommand("convert", "-version")) return t.skip("no ImageMagick here");
  const folder = temporaryFolder(t);
  const radiance = { ...someRadiance(40, 20), data: someRadiance(40, 20).data.map((value) => Math.min(1, value)) };
  for (const name of ["a.exr", "a.hdr", "a.tif"]) {
    const path = join(folder, name);
    await writeImage(radiance, path);
    // It takes a TIFF's values for sRGB codes: left alone, they are what the file holds.
    const linear = name.endsWith(".tif") ? [] : ["-colorspace", "RGB", "-set", "colorspace", "sRGB"];
    const run = spawnSync("convert", [path, ...linear, "-depth", "16", "rgb:-"]);
    assert.equal(run.status, 0, run.stderr.toString());
    const codes = new Uint16Array(new Uint8Array(run.stdout).buffer);
    const values = Float32Array.from(codes, (code) => code / 65535);
    radiance.data.forEach((value, i) => {
      const most = Math.max(...radiance.data.subarray(i - (i % 3), i - (i % 3) + 3));
      const precision = 1.5 / 65535 + RGBE * most;
      assert.ok(Math.abs(values[i] - value) < precision, `${name}: ${values[i]} and ${value}`);
    });
  }
});

test("metadata travels", async (t) => {
  const folder = temporaryFolder(t);
  const radiance = someRadiance(16, 16, METADATA);
  for (const extension of [".exr", ".hdr", ".tif", ".png", ".jpg", ".webp"]) {
    await writeImage(radiance, join(folder, `a${extension}`));
    const bytes = readFileSync(join(folder, `a${extension}`)).toString("utf8");
    // Exif knows ASCII alone.
    const model = [".exr", ".hdr", ".tif"].includes(extension) ? "grün 1" : "model: gr";
    for (const text of ["0 2 4.5", "radiance", model, "smhdr 9", "1.0 is where the shortest exposure clips"]) {
      assert.ok(bytes.includes(text), `${extension}: ${text}`);
    }
  }
  assert.ok(
    readFileSync(join(folder, "a.hdr"), "latin1").includes("PRIMARIES=0.64 0.33 0.3 0.6 0.15 0.06 0.3127 0.329\n"),
  );
  if (!hasCommand("exrheader", join(folder, "a.exr"))) return t.skip("the rest: no exrheader here");
  const header = spawnSync("exrheader", [join(folder, "a.exr")], { encoding: "utf8" }).stdout;
  assert.match(header, /exposureValues \(type string\): "0 2 4.5"/);
  assert.match(header, /referenceExposure \(type string\): "1"/);
  assert.match(header, /red +\(0.64 0.33\)/);
  assert.match(header, /compression \(type compression\): zip/);
});

test("other primaries travel as chromaticities and as an ICC profile", async (t) => {
  const folder = temporaryFolder(t);
  const radiance: Radiance = { ...someRadiance(16, 16), encoding: { transfer: "linear", primaries: "rec2020" } };
  for (const name of ["a.exr", "a.hdr"]) {
    await writeImage(radiance, join(folder, name));
    assert.equal((await readRadiance(join(folder, name))).encoding.primaries, "rec2020");
  }
  await writeImage(radiance, join(folder, "a.tif"));
  const { icc, depth, format } = await sharp(join(folder, "a.tif")).metadata();
  assert.deepEqual([format, depth], ["tiff", "float"]);
  // Rec. 2020 red under D50: (0.6735, 0.2790, -0.0019), as published profiles have it.
  assert.ok(icc);
  const at = icc.readUInt32BE(icc.indexOf("rXYZ") + 4);
  const red = [8, 12, 16].map((offset) => icc.readInt32BE(at + offset) / 65536);
  [0.6735, 0.279, -0.0019].forEach((value, i) => {
    assert.ok(Math.abs(red[i] - value) < 5e-4, `${red}`);
  });
});

test("display files: size, depth, profile, and the same look", async (t) => {
  const folder = temporaryFolder(t);
  const radiance = someRadiance(61, 43);
  const pixels = async (name: string, options = {}) => {
    await writeImage(radiance, join(folder, name), options);
    // Without ignoreIcc, sharp would convert from the file's sRGB to its own.
    const image = sharp(join(folder, name), { ignoreIcc: true });
    const { width, height, channels, icc } = await image.metadata();
    assert.deepEqual([width, height, channels], [61, 43, 3]);
    if (!name.endsWith(".avif")) assert.ok(icc, name);
    return image;
  };
  const eight = await (await pixels("a.png")).raw().toBuffer();
  assert.deepEqual(new Uint8Array(eight), toneMap(radiance).data);
  const deep = await pixels("deep.png", { bitDepth: 16 });
  assert.equal((await deep.metadata()).depth, "ushort");
  const sixteen = new Uint16Array(
    new Uint8Array(await deep.toColourspace("rgb16").raw({ depth: "ushort" }).toBuffer()).buffer,
  );
  eight.forEach((code, i) => {
    assert.ok(Math.abs(code - sixteen[i] / 257) <= 0.51, `${code} and ${sixteen[i]}`);
  });
  for (const name of ["a.jpg", "a.webp", "a.avif"]) {
    const lossy = await (await pixels(name, { quality: 100 })).raw().toBuffer();
    const error = eight.reduce((sum, code, i) => sum + Math.abs(code - lossy[i]), 0) / eight.length;
    assert.ok(error < 8, `${name}: ${error}`);
  }
});

test("NaN, infinities and negatives", async (t) => {
  const folder = temporaryFolder(t);
  const values = [Number.NaN, Infinity, -Infinity, -0.5, 70000, 1, 1e-30, 0, 1];
  const radiance: Radiance = { ...someRadiance(3, 1), data: Float32Array.from(values) };
  const read = async (name: string, options = {}) => {
    await writeImage(radiance, join(folder, name), options);
    return [...(await readRadiance(join(folder, name))).data];
  };
  assert.deepEqual(await read("half.exr"), [0, 65504, -65504, -0.5, 65504, 1, 0, 0, 1]);
  const most = 3.4028234663852886e38;
  assert.deepEqual(await read("float.exr", { precision: "float" }), [
    0,
    most,
    -most,
    -0.5,
    70000,
    1,
    Math.fround(1e-30),
    0,
    1,
  ]);
  assert.deepEqual(await read("a.hdr"), [0, 255 * 2 ** 119, 0, 0, 70144, 0, 0, 0, 1]);
  await writeImage(radiance, join(folder, "a.png"));
  const black: Radiance = { ...radiance, data: new Float32Array(9) };
  await writeImage(black, join(folder, "black.png"));
  assert.deepEqual([...(await sharp(join(folder, "black.png")).raw().toBuffer())], new Array(9).fill(0));
});

test("the same radiance makes the same bytes", async (t) => {
  const folder = temporaryFolder(t);
  const radiance = someRadiance(64, 48, METADATA);
  for (const extension of OUTPUT_EXTENSIONS) {
    if (extension === ".avif") continue; // its encoder's threads are its own affair
    await writeImage(radiance, join(folder, `a${extension}`));
    await writeImage(radiance, join(folder, `b${extension}`));
    assert.deepEqual(
      readFileSync(join(folder, `a${extension}`)),
      readFileSync(join(folder, `b${extension}`)),
      extension,
    );
  }
});

test("bad calls are told apart, and write nothing", async (t) => {
  const folder = temporaryFolder(t);
  const radiance = someRadiance(4, 4);
  const refused = async (path: string, code: string, message: RegExp, what: object = {}, options = {}) => {
    await assert.rejects(writeImage({ ...radiance, ...what }, path, options), { name: "SmhdrError", code, message });
  };
  const known = /\.exr, \.hdr, \.tif, \.tiff, \.png, \.jpg, \.jpeg, \.webp, \.avif/;
  await refused(join(folder, "a.bmp"), "INVALID_ARGUMENT", known);
  await refused(join(folder, "exr"), "INVALID_ARGUMENT", /no extension/);
  await refused(join(folder, "a.exr"), "INVALID_ARGUMENT", /channels must be 3; got 4/, { channels: 4 });
  // Calls that TypeScript would have refused.
  const write = writeImage as (...given: unknown[]) => Promise<void>;
  await assert.rejects(write(join(folder, "a.exr"), radiance), {
    code: "INVALID_ARGUMENT",
    message: /^path: .*got \{/,
  });
  await assert.rejects(write(null, join(folder, "a.exr")), { code: "INVALID_ARGUMENT", message: /^radiance: .*null/ });
  await refused(join(folder, "no", "a.exr"), "IO", /folder .*no does not exist/);
  await refused(join(folder, "no", "a.png"), "IO", /folder .*no does not exist/);
  const exr = join(folder, "a.exr");
  await refused(exr, "INVALID_ARGUMENT", /48 values; got 47/, { data: new Float32Array(47) });
  await refused(exr, "INVALID_ARGUMENT", /linear/, { encoding: { transfer: "srgb", primaries: "srgb" } });
  await refused(exr, "INVALID_ARGUMENT", /0x4/, { width: 0, data: new Float32Array(0) });
  await refused(exr, "INVALID_ARGUMENT", /precision/, {}, { precision: "double" });
  await refused(join(folder, "a.png"), "INVALID_ARGUMENT", /bitDepth/, {}, { bitDepth: 12 });
  await refused(join(folder, "a.jpg"), "INVALID_ARGUMENT", /quality/, {}, { quality: 0 });
  await refused(
    join(folder, "a.jpg"),
    "INVALID_ARGUMENT",
    /toneMap\.detail must be 0 to 20/,
    {},
    { toneMap: { detail: -1 } },
  );
  await refused(
    join(folder, "a.jpg"),
    "INVALID_ARGUMENT",
    /toneMap\.exposure/,
    {},
    { toneMap: { exposure: Number.NaN } },
  );
  const wide = { width: 16384, height: 1, data: new Float32Array(16384 * 3) };
  await refused(join(folder, "a.webp"), "UNSUPPORTED", /16383/, wide);
  assert.deepEqual(readdirSync(folder), []);
  mkdirSync(join(folder, "folder.exr"));
  await refused(join(folder, "folder.exr"), "IO", /it is a folder/);
});

test("no permission", async (t) => {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o555);
  // The super-user may write everywhere: be nobody for a moment.
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65534);
  try {
    for (const name of ["a.exr", "a.png"]) {
      await assert.rejects(writeImage(someRadiance(4, 4), join(folder, name)), {
        code: "IO",
        message: /no permission/,
      });
    }
  } finally {
    if (isRoot) process.seteuid?.(0);
    chmodSync(folder, 0o755);
  }
});

test("cancelled half-way: nothing is left, an old file stays", async (t) => {
  const folder = temporaryFolder(t);
  const radiance = someRadiance(400, 200);
  for (const extension of OUTPUT_EXTENSIONS) {
    const path = join(folder, `a${extension}`);
    writeFileSync(path, "old");
    const controller = new AbortController();
    const fractions: number[] = [];
    const onProgress = (fraction: number) => {
      fractions.push(fraction);
      controller.abort();
    };
    await assert.rejects(writeImage(radiance, path, { signal: controller.signal, onProgress }), { code: "CANCELLED" });
    assert.ok(fractions.length > 0, extension);
    assert.equal(readFileSync(path, "utf8"), "old");
  }
  assert.equal(readdirSync(folder).length, OUTPUT_EXTENSIONS.length);
  await assert.rejects(writeImage(radiance, join(folder, "b.exr"), { signal: AbortSignal.abort() }), {
    code: "CANCELLED",
  });
});

test("no space left: one error, nothing left", async (t) => {
  const folder = temporaryFolder(t);
  // A file system of 256 KiB; only the super-user can have one.
  if (!hasCommand("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder))
    return t.skip("cannot mount a tmpfs here");
  try {
    for (const extension of [".exr", ".hdr", ".tif", ".png", ".jpg"]) {
      const path = join(folder, `a${extension}`);
      await assert.rejects(writeImage(someRadiance(700, 400), path, { precision: "float" }), {
        code: "IO",
        message: /cannot be written/,
      });
      assert.deepEqual(readdirSync(folder), [], extension);
    }
  } finally {
    spawnSync("umount", [folder]);
  }
});
