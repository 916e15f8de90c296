import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, describe, it } from "node:test";
import type { Bracket } from "../../src/bracket/bracket.js";
import { bracketFromImages, type ReadOptions, readBracket } from "../../src/bracket/read-bracket.js";
import { type ErrorCode, SmhdrError } from "../../src/errors.js";
import type { Encoding, Image } from "../../src/image.js";
import { HEIGHT, photograph, rgb, shoot, WIDTH } from "./photographs.js";

const folder = mkdtempSync(join(tmpdir(), "smhdr-test-"));
after(() => rmSync(folder, { recursive: true }));

const shots = [-2, 0, 2].map((stops) => ({ stops, time: `${2 ** (stops + 2)}/100` }));
const files = await Promise.all(shots.map((shot) => photograph(shot)));

const pixelsOf = (bracket: Bracket) => bracket.exposures.map(({ pixels }) => pixels.rows(0, bracket.height).slice());

async function refused(promise: Promise<Bracket>, code: ErrorCode, message: RegExp) {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof SmhdrError, `an SmhdrError, not ${error}`);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}

describe("readBracket", () => {
  it("finds the order of files and names them by their paths", async () => {
    const paths = files.map((file, i) => {
      const path = join(folder, `${"cab"[i]}.png`);
      writeFileSync(path, file);
      return path;
    });
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
      [1, 2, 0],
    ]) {
      const bracket = await readBracket(order.map((i) => paths[i]));
      assert.deepEqual(
        bracket.exposures.map(({ name }) => name),
        paths,
      );
      assert.deepEqual([bracket.width, bracket.height, bracket.reference], [WIDTH, HEIGHT, 1]);
      bracket.close();
    }
  });

  it("gives each file the value it was given, then sorts and rebases", async () => {
    const bracket = await readBracket([files[2], files[0], files[1]], { ev: [1, -3, -1], reference: 0 });
    assert.deepEqual(
      bracket.exposures.map(({ name, exposureValue, exposureSource }) => [name, exposureValue, exposureSource]),
      [
        ["image 2", 0, "given"],
        ["image 3", 2, "given"],
        ["image 1", 4, "given"],
      ],
    );
    assert.equal(bracket.reference, 0);
    bracket.close();
  });

  it("holds the same pixels in files as in memory, and leaves nothing behind", async () => {
    const temporary = join(folder, "temporary");
    mkdirSync(temporary);
    const before = process.env.TMPDIR;
    process.env.TMPDIR = temporary;
    try {
      const data = Uint16Array.from({ length: 300 * 200 * 3 }, (_, i) => (i * 7919) % 65536);
      const deep = await rgb(data, 300, 200).png().toBuffer();
      for (const sources of [files, [deep, deep]]) {
        const options = { ev: sources.map((_, i) => i * 2), align: "none" } as const;
        const inMemory = await readBracket(sources, options);
        const inFiles = await readBracket(sources, { ...options, memory: 1000 });
        assert.deepEqual(readdirSync(temporary), [], "unlinked while open");
        assert.deepEqual(pixelsOf(inFiles), pixelsOf(inMemory));
        const { pixels } = inFiles.exposures[1];
        const strip = pixels.rows(17, 40).slice();
        assert.deepEqual(strip, inMemory.exposures[1].pixels.rows(17, 40).slice());
        assert.equal(pixels.rows(5, 5).length, 0);
        assert.throws(() => pixels.rows(0, inFiles.height + 1), { code: "INVALID_ARGUMENT" });
        for (const bracket of [inMemory, inFiles]) {
          bracket.close();
          bracket.close();
          assert.throws(() => bracket.exposures[0].pixels.rows(0, 1), { code: "INVALID_ARGUMENT" });
        }
      }
      const broken = files[0].subarray(0, files[0].length - 2000);
      await refused(
        readBracket([files[1], broken], { memory: 1000 }),
        "BAD_INPUT",
        /image 2.*(cut short|not an image)/,
      );
      assert.deepEqual(readdirSync(temporary), []);
      process.env.TMPDIR = join(temporary, "missing");
      await refused(readBracket(files, { memory: 1000 }), "IO", /temporary/);
    } finally {
      if (before === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = before;
    }
  });

  it("reads sixteen exposures and images of one pixel", async () => {
    const many = await readBracket(Array(16).fill(files[0]), { ev: Array.from({ length: 16 }, (_, i) => i / 16) });
    assert.deepEqual([many.exposures.length, many.reference], [16, 8]);
    many.close();
    const dots = await Promise.all(
      [60, 120].map((v) =>
        rgb(Uint8Array.of(v, v, v), 1, 1)
          .png()
          .toBuffer(),
      ),
    );
    for (const options of [{}, { ev: [0, 2] }]) {
      const tiny = await readBracket(dots, options);
      assert.deepEqual([tiny.width, tiny.height, tiny.exposures.length], [1, 1, 2]);
      tiny.close();
    }
  });

  it("reports progress up to 1 and stops when cancelled", async () => {
    const seen: number[] = [];
    (await readBracket(files, { onProgress: (fraction) => seen.push(fraction) })).close();
    assert.deepEqual(seen, [...seen].sort());
    assert.equal(seen.at(-1), 1);
    await refused(readBracket(files, { signal: AbortSignal.abort() }), "CANCELLED", /Cancelled/);
    const controller = new AbortController();
    const stopping = readBracket(files, { signal: controller.signal, onProgress: () => controller.abort() });
    await refused(stopping, "CANCELLED", /Cancelled/);
  });
});

describe("readBracket refuses in words", () => {
  const wrong = (options: Record<string, unknown>, message: RegExp) => () =>
    refused(readBracket(files, options as ReadOptions), "INVALID_ARGUMENT", message);

  it("none, one and twenty exposures", async () => {
    for (const count of [0, 1, 20]) {
      await refused(readBracket(Array(count).fill(files[0])), "INVALID_ARGUMENT", new RegExp(`2 to 16.*got ${count}`));
    }
  });
  it("a photograph twice", async () => {
    const path = join(folder, "once.png");
    writeFileSync(path, await rgb(new Uint8Array(48), 4, 4).png().toBuffer());
    await refused(readBracket([path, files[0], relative("", path)]), "INVALID_ARGUMENT", /once\.png was given twice/);
  });
  it("what is missing before how many there are", async () => {
    const gone = join(folder, "2");
    await refused(readBracket([files[0], gone], { ev: [0] }), "IO", /2 does not exist/);
  });
  it("what is no array of files", async () => {
    for (const [given, message] of [
      ["a.jpg", /files: expected an array .*got "a.jpg"/],
      [undefined, /files: expected an array .*got undefined/],
      [[1, 2], /files: expected paths or Buffers; got 1/],
      [[new Float32Array(9)], /got "Float32Array of 36 bytes"/],
    ] as const)
      await refused(readBracket(given as unknown as string[]), "INVALID_ARGUMENT", message);
  });
  it("values in one text", wrong({ ev: "0,2,4" }, /ev: expected an array of stops; got "0,2,4"/));
  it("too many values", wrong({ ev: [0, 1, 2, 3] }, /ev: expected 3 values.*got 4/));
  it("too few values", wrong({ ev: [0, 1] }, /ev: expected 3 values.*got 2/));
  it("NaN", wrong({ ev: [0, Number.NaN, 2] }, /ev: .*NaN/));
  it("infinity", wrong({ ev: [0, 1, Number.POSITIVE_INFINITY] }, /ev: .*Infinity/));
  it("seconds for stops", wrong({ ev: [0, 1, 1000] }, /ev: .*span of 1000/));
  it("a reference that is not there", wrong({ reference: 3 }, /reference: .*got 3/));
  it("half a reference", wrong({ reference: 0.5 }, /reference: .*got 0.5/));
  it("an unknown alignment", wrong({ align: "maybe" }, /align: .*maybe/));
  it("an unknown treatment of alpha", wrong({ alpha: "keep" }, /alpha: .*keep/));
  it("no memory", wrong({ memory: 0 }, /memory: .*got 0/));

  it("images of different sizes, depths and encodings", async () => {
    const [data8, data16] = [new Uint8Array(48).fill(80), new Uint16Array(48).fill(20000)];
    const small = await rgb(data8, 4, 4).png().toBuffer();
    const turned = await rgb(data8, 2, 8).png().toBuffer();
    const deep = await rgb(data16, 4, 4).png().toBuffer();
    const wide = await rgb(data8, 4, 4).withIccProfile("p3").png().toBuffer();
    await refused(readBracket([small, turned]), "BAD_INPUT", /image 1 is 4 x 4, image 2 is 2 x 8/);
    await refused(readBracket([small, deep]), "BAD_INPUT", /bit depth: image 1 is uint8, image 2 is uint16/);
    await refused(readBracket([small, wide]), "BAD_INPUT", /encoding: image 1 and image 2/);
  });

  it("files that are not images, by name", async () => {
    const path = join(folder, "notes.txt");
    writeFileSync(path, "milk, bread");
    await refused(readBracket([files[0], path]), "BAD_INPUT", /notes\.txt is not an image.*expected JPEG, PNG/);
    for (const [name, pattern] of [
      ["merged.exr", /merged\.exr is an HDR image already; expected photographs/],
      ["IMG_0001.HEIC", /IMG_0001\.HEIC is HEIC, which is not read; export it/],
    ] as const) {
      writeFileSync(join(folder, name), "milk, bread");
      await refused(readBracket([files[0], join(folder, name)]), "BAD_INPUT", pattern);
    }
    await refused(readBracket([files[0], join(folder, "gone.jpg")]), "IO", /gone\.jpg does not exist/);
  });
});

describe("bracketFromImages", () => {
  const srgb: Encoding = { transfer: "srgb", primaries: "srgb" };
  const image = (stops: number, encoding = srgb): Image => ({
    width: WIDTH,
    height: HEIGHT,
    channels: 3,
    data: Uint16Array.from(shoot({ stops }), (v) => Math.round(65535 * v)),
    encoding,
  });

  it("sorts and estimates as files are, without copying", async () => {
    const images = [image(2), image(0)];
    const bracket = await bracketFromImages(images);
    assert.deepEqual(
      bracket.exposures.map(({ name }) => name),
      ["image 2", "image 1"],
    );
    assert.ok(Math.abs(bracket.exposures[1].exposureValue - 2) < 0.3);
    assert.equal(bracket.exposures[0].pixels.rows(0, HEIGHT).buffer, images[1].data.buffer);
    bracket.close();
  });

  it("takes linear floating-point pixels", async () => {
    const linear = [0, 1].map((stops): Image => {
      const data = Float32Array.from({ length: 48 * 3 }, (_, i) => Math.min(1, (0.02 + i / 300) * 2 ** stops));
      return { width: 8, height: 6, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" } };
    });
    const bracket = await bracketFromImages(linear);
    assert.equal(bracket.exposures[0].pixels.depth, "float32");
    assert.ok(Math.abs(bracket.exposures[1].exposureValue - 1) < 0.2);
    bracket.close();
  });

  it("refuses what does not fit", async () => {
    const good = image(0);
    const bad = (change: Partial<Image>) => bracketFromImages([good, { ...good, ...change }]);
    await refused(bracketFromImages([good]), "INVALID_ARGUMENT", /got 1/);
    await refused(bad({ channels: 4 }), "INVALID_ARGUMENT", /3 channels/);
    await refused(bad({ width: 0 }), "INVALID_ARGUMENT", /0 x/);
    await refused(bad({ data: good.data.subarray(3) }), "INVALID_ARGUMENT", /samples/);
    await refused(bad({ data: new Float32Array(good.data.length).fill(Number.NaN) }), "INVALID_ARGUMENT", /NaN/);
    await refused(bad({ encoding: { ...srgb, transfer: "linear" } }), "BAD_INPUT", /encoding/);
    await refused(bad({ width: WIDTH / 2, data: good.data.subarray(good.data.length / 2) }), "BAD_INPUT", /one size/);
  });
});
