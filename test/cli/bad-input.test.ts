import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { photograph } from "./photographs.js";
import { smhdr } from "./process.js";

let folder: string;
let jpegs: string[];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-bad-input-"));
  jpegs = await photograph(join(folder, "good"), "jpg");
});
after(() => rm(folder, { recursive: true, force: true }));

/** Runs a merge that must fail with `code` and one message, and must leave the output folder empty. */
async function refused(images: string[], code: 1 | 2, message: RegExp, ...options: string[]): Promise<void> {
  const out = await mkdtemp(join(folder, "out-"));
  const result = await smhdr("merge", ...images, "-o", join(out, "merged.exr"), ...options);
  assert.equal(result.code, code, result.stderr);
  assert.match(result.stderr, message);
  assert.doesNotMatch(result.stderr, /\n\s+at /, "a stack trace is no message");
  assert.equal(result.stdout, "");
  assert.deepEqual(await readdir(out), []);
}

describe("photographs that cannot be merged", { concurrency: 2 }, () => {
  it("one exposure", () => refused([jpegs[0]], 2, /2 to 16 exposures; got 1/));
  it("twenty exposures", () => refused(Array(20).fill(jpegs[0]), 2, /2 to 16 exposures; got 20/));

  it("different sizes", async () => {
    const small = join(folder, "small.jpg");
    await sharp(jpegs[2]).resize(48, 32).toFile(small);
    await refused([jpegs[0], jpegs[1], small], 1, /small\.jpg.*48\s*x\s*32|48\s*x\s*32.*small\.jpg/);
  });

  it("a file that is not there", () => refused([jpegs[0], join(folder, "no.jpg")], 1, /no\.jpg/));
  it("a folder", () => refused([jpegs[0], folder], 1, /folder|directory|file/i));

  it("not an image", async () => {
    const path = join(folder, "words.jpg");
    await writeFile(path, "These are words and no picture.\n".repeat(20));
    await refused([jpegs[0], path], 1, /words\.jpg/);
  });

  it("an empty file", async () => {
    const path = join(folder, "empty.jpg");
    await writeFile(path, "");
    await refused([jpegs[0], path], 1, /empty\.jpg/);
  });

  it("a truncated file", async () => {
    const path = join(folder, "truncated.jpg");
    const bytes = await readFile(jpegs[1]);
    await writeFile(path, bytes);
    await truncate(path, Math.floor(bytes.length * 0.6));
    await refused([jpegs[0], path], 1, /truncated\.jpg/);
  });

  it("an animated file", async () => {
    const frames = await Promise.all(
      [0, 200].map((r) =>
        sharp({ create: { width: 96, height: 64, channels: 3, background: { r, g: 9, b: 9 } } })
          .png()
          .toBuffer(),
      ),
    );
    const path = join(folder, "animated.webp");
    await writeFile(
      path,
      await sharp(frames, { join: { animated: true } })
        .webp()
        .toBuffer(),
    );
    await refused([jpegs[0], path], 1, /animated\.webp.*(anim|frames|pages)/i);
  });

  it("transparency, unless it may be flattened", async () => {
    const path = join(folder, "alpha.png");
    await sharp(jpegs[1]).ensureAlpha(0.5).png().toFile(path);
    await refused([jpegs[0], path], 1, /alpha\.png.*(alpha|transparen)/i, "--ev", "0,2");
    const flattened = join(folder, "flattened.exr");
    const result = await smhdr("merge", jpegs[0], path, "--ev", "0,2", "--alpha", "flatten", "-o", flattened);
    assert.equal(result.code, 0, result.stderr);
  });
});

describe("a wrong call", { concurrency: 2 }, () => {
  it("exposure values that are no numbers", () => refused(jpegs, 2, /--ev/, "--ev", "0,NaN,4"));
  it("too many exposure values", () => refused(jpegs, 2, /4.*3|3.*4/, "--ev", "0,2,4,6"));
  it("a reference that is not there", () => refused(jpegs, 2, /reference.*3|3.*reference/i, "--reference", "3"));
  it("an unknown method", () => refused(jpegs, 2, /--method/, "--method", "magic"));
  it("an unknown option", () => refused(jpegs, 2, /--sharpen/, "--sharpen"));
  it("too little memory named", () => refused(jpegs, 2, /--memory/, "--memory", "1M"));
  it("a model where none is used", () =>
    refused(jpegs, 2, /model/, "--method", "radiance", "--model", "x.safetensors"));
  it("a precision where there is but one", () =>
    refused(jpegs, 2, /precision/, "--method", "radiance", "--precision", "bf16"));
  it("a device that never merges", () => refused(jpegs, 2, /device/, "--method", "radiance", "--device", "onnx"));

  it("no photograph", async () => {
    const result = await smhdr("merge", "-o", join(folder, "none.exr"));
    assert.equal(result.code, 2);
    assert.match(result.stderr, /missing required argument/);
  });

  it("no output", async () => {
    const result = await smhdr("merge", ...jpegs);
    assert.equal(result.code, 2);
    assert.match(result.stderr, /--output/);
  });

  it("an unknown command", async () => {
    const result = await smhdr("marge");
    assert.equal(result.code, 2);
    assert.match(result.stderr, /unknown command 'marge'/);
  });
});

describe("an output that cannot be written is known before the work", { concurrency: 2 }, () => {
  it("a folder that does not exist", async () => {
    const path = join(folder, "nowhere", "merged.exr");
    const result = await smhdr("merge", ...jpegs, "-o", path);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /nowhere.*does not exist/);
  });

  it("an unknown extension", async () => {
    for (const name of ["merged.xyz", "merged"]) {
      const path = join(folder, name);
      const result = await smhdr("merge", ...jpegs, "-o", path);
      assert.equal(result.code, 2, result.stderr);
      assert.match(result.stderr, /\.exr/);
      await assert.rejects(readFile(path));
    }
  });

  it("a folder where the file should be", async () => {
    const path = join(folder, "folder.exr");
    await mkdir(path);
    const result = await smhdr("merge", ...jpegs, "-o", path);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /is a folder/);
  });

  it("one of the photographs, even by another name", async () => {
    const link = join(folder, "link");
    await symlink(join(folder, "good"), link);
    const before = await readFile(jpegs[1]);
    const result = await smhdr("merge", ...jpegs, "-o", join(link, "1.jpg"));
    assert.equal(result.code, 2, result.stderr);
    assert.match(result.stderr, /one of the photographs/);
    assert.deepEqual(await readFile(jpegs[1]), before);
  });

  it("the same output twice", async () => {
    const path = join(folder, "twice.exr");
    const result = await smhdr("merge", ...jpegs, "-o", path, "-o", path);
    assert.equal(result.code, 2);
    assert.match(result.stderr, /twice/);
  });
});
