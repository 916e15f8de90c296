import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import sharp from "sharp";
import { decodePhotograph, readHeader } from "../../src/bracket/decode.js";
import { SmhdrError } from "../../src/errors.js";
import { photograph, rgb, tiff } from "./photographs.js";
import { ADOBE_COLORANTS, attach, profile } from "./profiles.js";

const W = 20;
const H = 12;
const bytes = Uint8Array.from({ length: W * H * 3 }, (_, i) => (i * 79) % 256);
const words = Uint16Array.from({ length: W * H * 3 }, (_, i) => (i * 7919) % 65536);

async function decode(file: string | Buffer, alpha: "refuse" | "flatten" = "refuse") {
  const header = await readHeader(file, "photo", alpha);
  const inMemory = await decodePhotograph(header, false);
  const inFile = await decodePhotograph(header, true);
  const pixels = inMemory.pixels.rows(0, header.height).slice();
  assert.deepEqual(inFile.pixels.rows(0, header.height), pixels, "memory and file hold the same");
  inFile.pixels.close();
  return { header, pixels };
}

async function refusal(file: string | Buffer, code: string, message: RegExp, alpha?: "refuse" | "flatten") {
  await assert.rejects(decode(file, alpha), (error) => {
    assert.ok(error instanceof SmhdrError, `an SmhdrError, not ${error}`);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}

const flat = (width: number, height: number, value: [number, number, number]) =>
  rgb(
    Uint8Array.from({ length: width * height * 3 }, (_, i) => value[i % 3]),
    width,
    height,
  )
    .jpeg({ quality: 100, chromaSubsampling: "4:4:4" })
    .toBuffer();

describe("decoding keeps integers at their depth", () => {
  it("8-bit PNG, TIFF, WebP and AVIF, lossless, to the last bit", async () => {
    const image = () => rgb(bytes, W, H);
    for (const file of [
      await image().png().toBuffer(),
      await image().tiff({ compression: "lzw" }).toBuffer(),
      await image().webp({ lossless: true }).toBuffer(),
      await image().avif({ lossless: true }).toBuffer(),
    ]) {
      const { header, pixels } = await decode(file);
      assert.equal(header.depth, "uint8");
      assert.deepEqual(header.encoding, { transfer: "srgb", primaries: "srgb" });
      assert.deepEqual(new Uint8Array(pixels), bytes);
    }
  });

  it("16-bit PNG and TIFF to the last bit", async () => {
    const image = () => rgb(words, W, H);
    for (const file of [await image().png().toBuffer(), await image().tiff({ compression: "deflate" }).toBuffer()]) {
      const { header, pixels } = await decode(file);
      assert.equal(header.depth, "uint16");
      assert.deepEqual(pixels, words);
    }
  });

  it("JPEG close to what went in; 1 x 1 too", async () => {
    const { pixels } = await decode(await flat(9, 7, [200, 100, 50]));
    for (let i = 0; i < pixels.length; i++) assert.ok(Math.abs(pixels[i] - [200, 100, 50][i % 3]) <= 2);
    const one = await decode(
      await rgb(Uint8Array.of(1, 2, 3), 1, 1)
        .png()
        .toBuffer(),
    );
    assert.deepEqual([...one.pixels], [1, 2, 3]);
  });

  it("10-bit AVIF as 16 bits", async () => {
    const file = await rgb(bytes, W, H).avif({ quality: 100, bitdepth: 10, chromaSubsampling: "4:4:4" }).toBuffer();
    const { header, pixels } = await decode(file);
    assert.equal(header.depth, "uint16");
    for (let i = 0; i < pixels.length; i++) assert.ok(Math.abs(pixels[i] / 257 - bytes[i]) < 4, `sample ${i}`);
  });

  it("8- and 16-bit grey becomes RGB", async () => {
    const grey = Uint16Array.from({ length: W * H }, (_, i) => (i * 7919) % 65536);
    const image = sharp(grey, { raw: { width: W, height: H, channels: 1 } }).toColourspace("grey16");
    const { header, pixels } = await decode(await image.png().toBuffer());
    assert.equal(header.depth, "uint16");
    assert.deepEqual(
      pixels,
      Uint16Array.from({ length: W * H * 3 }, (_, i) => grey[Math.floor(i / 3)]),
    );
    const eight = await decode(tiff({ width: 2, height: 2, pixels: Uint8Array.of(0, 50, 100, 255) }));
    assert.deepEqual([...eight.pixels], [0, 0, 0, 50, 50, 50, 100, 100, 100, 255, 255, 255]);
  });
});

describe("orientation", () => {
  // A 3 x 2 picture, its pixels numbered; where each stands upright for the eight orientations.
  const upright: Record<number, number[][]> = {
    1: [
      [0, 1, 2],
      [3, 4, 5],
    ],
    2: [
      [2, 1, 0],
      [5, 4, 3],
    ],
    3: [
      [5, 4, 3],
      [2, 1, 0],
    ],
    4: [
      [3, 4, 5],
      [0, 1, 2],
    ],
    5: [
      [0, 3],
      [1, 4],
      [2, 5],
    ],
    6: [
      [3, 0],
      [4, 1],
      [5, 2],
    ],
    7: [
      [5, 2],
      [4, 1],
      [3, 0],
    ],
    8: [
      [2, 5],
      [1, 4],
      [0, 3],
    ],
  };
  const numbered = Uint8Array.from({ length: 18 }, (_, i) => 40 * Math.floor(i / 3));
  for (const [orientation, rows] of Object.entries(upright)) {
    it(`${orientation} is applied`, async () => {
      const file = await rgb(numbered, 3, 2)
        .withMetadata({ orientation: Number(orientation) })
        .png()
        .toBuffer();
      const { header, pixels } = await decode(file);
      assert.deepEqual([header.width, header.height], [rows[0].length, rows.length]);
      assert.deepEqual(
        [...pixels].filter((_, i) => i % 3 === 0),
        rows.flat().map((n) => 40 * n),
      );
    });
  }
});

describe("colour", () => {
  it("Display P3 keeps its integers and names its primaries", async () => {
    const { header, pixels } = await decode(await rgb(bytes, W, H).withIccProfile("p3").png().toBuffer());
    assert.deepEqual(header.encoding, { transfer: "srgb", primaries: "display-p3" });
    const stored = await sharp(await rgb(bytes, W, H).withIccProfile("p3").png().toBuffer(), { ignoreIcc: true });
    assert.deepEqual(new Uint8Array(pixels), new Uint8Array(await stored.raw().toBuffer()));
  });

  it("Adobe RGB is named, a gamma of 1.8 becomes a table, linear is linear", async () => {
    const jpeg = await flat(8, 8, [200, 100, 50]);
    const encodingOf = async (icc: Buffer) => (await decode(attach(jpeg, icc))).header.encoding;
    const adobe = profile({ gammas: [563 / 256, 563 / 256, 563 / 256], colorants: ADOBE_COLORANTS });
    assert.deepEqual(await encodingOf(adobe), { transfer: "gamma2.2", primaries: "adobe-rgb" });
    assert.deepEqual(await encodingOf(profile({ gammas: [1, 1, 1] })), { transfer: "linear", primaries: "srgb" });
    const { transfer, primaries } = await encodingOf(profile({ gammas: [1.80078125, 1.80078125, 1.80078125] }));
    assert.equal(primaries, "srgb");
    assert.ok(typeof transfer === "object");
    const middle = transfer.table[(transfer.table.length - 1) / 3];
    assert.ok(Math.abs(middle - (1 / 3) ** 1.80078125) < 1e-6);
  });

  it("unknown primaries are told as chromaticities", async () => {
    // Pure XYZ axes seen from D50: the chromaticities of the axes, white at D50.
    const colorants = [
      [0.9642, 0, 0],
      [0, 1, 0],
      [0, 0, 0.8249],
    ] as const;
    const icc = profile({ gammas: [1, 1, 1], colorants });
    const { primaries } = (await readHeader(attach(await flat(8, 8, [9, 9, 9]), icc), "photo")).encoding;
    assert.ok(typeof primaries === "object");
    const near = (got: readonly number[], wanted: number[]) => {
      for (const [i, value] of wanted.entries()) assert.ok(Math.abs(got[i] - value) < 1e-3, `${got} is not ${wanted}`);
    };
    near(primaries.red, [1, 0]);
    near(primaries.green, [0, 1]);
    near(primaries.white, [0.3457, 0.3585]);
  });

  it("a grey profile's curve counts, relative to XYZ or Lab", async () => {
    const grey = await sharp(Buffer.alloc(64, 100), { raw: { width: 8, height: 8, channels: 1 } })
      .jpeg()
      .toBuffer();
    const linear = (await readHeader(attach(grey, profile({ gammas: [1] })), "photo")).encoding;
    assert.equal(linear.transfer, "linear");
    const lab = (await readHeader(attach(grey, profile({ gammas: [1], connection: "Lab " })), "photo")).encoding;
    assert.ok(typeof lab.transfer === "object");
    // Half of the lightness scale, L* = 50, is 18.4 % of the light.
    assert.ok(Math.abs(lab.transfer.table[2048] - 0.184) < 0.001);
  });

  it("curves that differ between the colours go through colour management", async () => {
    const jpeg = await flat(8, 8, [128, 128, 128]);
    const { header, pixels } = await decode(attach(jpeg, profile({ gammas: [1, 1.8, 2.4] })));
    assert.deepEqual([header.depth, header.encoding.transfer], ["uint16", "srgb"]);
    assert.equal(header.encoding.primaries, "display-p3");
    // What the profile means, computed here: linear sRGB, its luminance kept in whatever space it comes out.
    const linear = [1, 1.8, 2.4].map((gamma) => (128 / 255) ** gamma);
    const luminance = 0.2225 * linear[0] + 0.7169 * linear[1] + 0.0606 * linear[2];
    const decoded = [...pixels.slice(0, 3)].map((v) => ((v / 65535 + 0.055) / 1.055) ** 2.4);
    const got = 0.2412 * decoded[0] + 0.6922 * decoded[1] + 0.0666 * decoded[2];
    assert.ok(Math.abs(got - luminance) < 0.01, `${got} is not ${luminance}`);
    assert.ok(decoded[0] > decoded[1] && decoded[1] > decoded[2]);
  });

  it("a lookup-table profile is not read as a matrix one", async () => {
    const icc = profile({ gammas: [2.2, 2.2, 2.2], extraTags: ["A2B0"] });
    assert.equal((await readHeader(attach(await flat(8, 8, [9, 9, 9]), icc), "photo")).convert, true);
  });

  it("a broken profile is passed over, and said", async () => {
    const icc = profile({ gammas: [1, 1, 1] });
    icc.write("nope", 36, "latin1");
    const header = await readHeader(attach(await flat(8, 8, [9, 9, 9]), icc), "photo");
    assert.match(header.remark ?? "", /profile/);
    assert.equal(header.encoding.transfer, "srgb");
  });

  it("CMYK is converted to sRGB", async () => {
    const wanted = [150, 110, 90];
    const colour = Uint8Array.from({ length: 192 }, (_, i) => wanted[i % 3]);
    const { header, pixels } = await decode(await rgb(colour, 8, 8).toColourspace("cmyk").jpeg().toBuffer());
    assert.deepEqual(header.encoding, { transfer: "srgb", primaries: "srgb" });
    for (const [c, value] of wanted.entries()) assert.ok(Math.abs(pixels[c] - value) < 12, `${pixels.slice(0, 3)}`);
  });

  it("PQ and Rec. 2020 of a PNG's cICP chunk, linear of gAMA", async () => {
    const png = await rgb(bytes, W, H).png().toBuffer();
    const chunk = (kind: string, data: number[]) => {
      const body = Buffer.concat([Buffer.from(kind, "latin1"), Buffer.from(data)]);
      const size = Buffer.alloc(4);
      size.writeUInt32BE(data.length);
      const sum = Buffer.alloc(4);
      sum.writeUInt32BE(crc32(body));
      return Buffer.concat([png.subarray(0, 33), size, body, sum, png.subarray(33)]);
    };
    const pq = await readHeader(chunk("cICP", [9, 16, 0, 1]), "photo");
    assert.deepEqual(pq.encoding, { transfer: "pq", primaries: "rec2020" });
    const linear = await readHeader(chunk("gAMA", [0, 1, 0x86, 0xa0]), "photo");
    assert.equal(linear.encoding.transfer, "linear");
    assert.equal((await readHeader(chunk("gAMA", [0, 0, 0xb1, 0x8f]), "photo")).encoding.transfer, "srgb");
  });
});

describe("what cannot be read is refused in words", () => {
  it("alpha, unless flattened onto black", async () => {
    const half = await rgb(new Uint8Array(W * H * 3).fill(200), W, H)
      .ensureAlpha(0.5)
      .png()
      .toBuffer();
    await refusal(half, "UNSUPPORTED", /alpha/);
    const { pixels } = await decode(half, "flatten");
    assert.ok(pixels.every((value) => Math.abs(value - 100) <= 1));
    const grey = await sharp(Buffer.alloc(50, 200), { raw: { width: 5, height: 5, channels: 2 } })
      .png()
      .toBuffer();
    await refusal(grey, "UNSUPPORTED", /alpha/);
    assert.ok((await decode(grey, "flatten")).pixels.every((value) => Math.abs(value - 157) <= 1));
  });

  it("animated files and other formats", async () => {
    const frames = await Promise.all([0, 255].map((v) => rgb(new Uint8Array(48).fill(v), 4, 4).png().toBuffer()));
    await refusal(
      await sharp(frames, { join: { animated: true } })
        .webp()
        .toBuffer(),
      "UNSUPPORTED",
      /2 pages/,
    );
    await refusal(await rgb(bytes, W, H).gif().toBuffer(), "UNSUPPORTED", /gif/);
    await refusal(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), "UNSUPPORTED", /svg/);
  });

  it("raw files, by their name and by the thumbnail that they begin with", async () => {
    const [width, height] = [4, 4];
    const thumbnail = tiff({ width, height, pixels: new Uint8Array(16), thumbnail: true });
    await refusal(thumbnail, "UNSUPPORTED", /raw file; expected .*developed/);
    assert.equal((await decode(tiff({ width, height, pixels: new Uint8Array(16) }))).pixels.length, 48);
    const folder = mkdtempSync(join(tmpdir(), "smhdr-test-"));
    try {
      const path = join(folder, "IMG_0001.CR2");
      writeFileSync(path, await rgb(bytes, W, H).png().toBuffer());
      await assert.rejects(readHeader(path, path), /CR2 is a raw file/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("what smhdr itself merged", async () => {
    const ImageDescription = "software: smhdr; mergeMethod: radiance; scale: Linear light.";
    const image = rgb(bytes, W, H).withExif({ IFD0: { ImageDescription } });
    await refusal(await image.jpeg().toBuffer(), "BAD_INPUT", /was merged by smhdr; expected a photograph/);
  });

  it("floating-point TIFF", async () => {
    const file = tiff({ width: 4, height: 4, pixels: new Uint8Array(64), float: true });
    await refusal(file, "UNSUPPORTED", /float/);
  });

  it("headers that promise forty gigapixels, before allocating", async () => {
    const before = process.memoryUsage().rss;
    const file = tiff({ width: 200_000, height: 200_000, pixels: new Uint8Array(64) });
    await refusal(file, "BAD_INPUT", /200000 x 200000/);
    assert.ok(process.memoryUsage().rss - before < 200e6);
  });

  it("text, nothing, and noise", async () => {
    await refusal(Buffer.from("this is no image"), "BAD_INPUT", /not an image/);
    await refusal(Buffer.alloc(0), "BAD_INPUT", /empty/);
    await refusal(
      Buffer.from(Uint8Array.from({ length: 5000 }, (_, i) => (i * i * 31) % 251)),
      "BAD_INPUT",
      /not an image/,
    );
  });

  it("files cut short, of every format", async () => {
    const image = () =>
      rgb(
        Uint8Array.from({ length: 30000 }, (_, i) => (i * i) % 251),
        100,
        100,
      );
    for (const file of [
      await image().jpeg().toBuffer(),
      await image().png().toBuffer(),
      await image().webp().toBuffer(),
      await image().avif().toBuffer(),
      await image().tiff({ compression: "none" }).toBuffer(),
    ]) {
      for (const part of [0.02, 0.5, 0.9]) {
        await refusal(file.subarray(0, Math.floor(file.length * part)), "BAD_INPUT", /not an image|damaged|cut short/);
      }
    }
  });

  it("missing files, folders and empty files", async () => {
    const folder = mkdtempSync(join(tmpdir(), "smhdr-test-"));
    try {
      await refusal(join(folder, "nothing.jpg"), "IO", /does not exist/);
      await refusal(folder, "BAD_INPUT", /folder/);
      writeFileSync(join(folder, "empty.jpg"), "");
      await refusal(join(folder, "empty.jpg"), "BAD_INPUT", /empty/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("camera settings", () => {
  it("come from every format", async () => {
    const exif = {
      IFD2: { ExposureTime: "1/50", FNumber: "28/10", ISOSpeedRatings: "400", ExposureBiasValue: "-2/1" },
    };
    const image = () => rgb(bytes, W, H).withExif(exif);
    for (const file of [
      await image().jpeg().toBuffer(),
      await image().png().toBuffer(),
      await image().webp().toBuffer(),
      await image().avif().toBuffer(),
    ]) {
      assert.deepEqual((await readHeader(file, "photo")).settings, { time: 1 / 50, fNumber: 2.8, iso: 400 });
    }
    const scan = tiff({
      width: 4,
      height: 4,
      pixels: new Uint8Array(16),
      exif: [
        [33434, 5, 1, 50],
        [33437, 5, 28, 10],
        [34855, 3, 400],
      ],
    });
    assert.deepEqual((await readHeader(scan, "photo")).settings, { time: 1 / 50, fNumber: 2.8, iso: 400 });
  });

  it("that are nonsense count as absent; absence is no error", async () => {
    const scan = tiff({
      width: 4,
      height: 4,
      pixels: new Uint8Array(16),
      exif: [
        [33434, 5, 0, 0],
        [33437, 5, 0, 1],
        [34855, 3, 65535],
      ],
    });
    assert.deepEqual((await readHeader(scan, "photo")).settings, {});
    assert.deepEqual((await readHeader(await photograph({ stops: 0 }), "photo")).settings, {});
  });
});

function crc32(data: Uint8Array): number {
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}
