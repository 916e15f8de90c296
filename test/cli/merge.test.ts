import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { readRadiance } from "../../src/codec/read-radiance.js";
import { hasDefaultModel } from "../../src/model/model.js";
import { photograph } from "./photographs.js";
import { jsonLines, smhdr, start } from "./process.js";

let folder: string;
let jpegs: string[];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-merge-"));
  jpegs = await photograph(join(folder, "good"), "jpg");
});
after(() => rm(folder, { recursive: true, force: true }));

describe("smhdr merge", () => {
  it("writes one merge to several files and prints their names", async () => {
    const outputs = ["merged.exr", "merged.hdr", "merged.tif", "merged.jpg", "merged.png"].map((n) => join(folder, n));
    const result = await smhdr("merge", ...[...jpegs].reverse(), ...outputs.flatMap((path) => ["-o", path]));
    assert.equal(result.code, 0, result.stderr);
    assert.equal(result.stdout, `${outputs.join("\n")}\n`);
    const radiance = await readRadiance(outputs[0]);
    assert.deepEqual([radiance.width, radiance.height], [96, 64]);
    const { width, format } = await sharp(outputs[3]).metadata();
    assert.deepEqual([width, format], [96, "jpeg"]);
    assert.equal((await readdir(folder)).filter((name) => name.endsWith(".tmp")).length, 0);
  });

  it("recovers light that the middle exposure clipped, and little light that the shortest buried", async () => {
    const path = join(folder, "range.exr");
    const result = await smhdr("merge", ...jpegs, "--align", "none", "--method", "radiance", "-o", path);
    assert.equal(result.code, 0, result.stderr);
    const { data, width } = await readRadiance(path);
    const green = (x: number, y: number) => data[(y * width + x) * 3 + 1];
    assert.ok(green(94, 5) > 2 ** -2 * 1.2, "brighter than where the middle exposure clips (EV 2)");
    assert.ok(green(1, 60) < 2 ** -6, "darker than what one code of 255 in 8 bits could tell in the shortest");
    assert.ok(data.every((value) => Number.isFinite(value) && value >= 0));
  });

  it("prints one JSON object a line with --json", async () => {
    const path = join(folder, "json.exr");
    const result = await smhdr("merge", ...jpegs, "-o", path, "--json");
    assert.equal(result.code, 0, result.stderr);
    const events = jsonLines(result.stdout);
    assert.deepEqual(
      [...new Set(events.filter(({ event }) => event === "progress").map(({ stage }) => stage))],
      ["Reading", "Merging", "Writing"],
    );
    const last = events.at(-1) as { event: string; outputs: string[]; exposures: { exposureValue: number }[] };
    assert.equal(last.event, "result");
    assert.deepEqual(last.outputs, [path]);
    assert.deepEqual(
      last.exposures.map(({ exposureValue }) => Math.round(exposureValue)),
      [0, 2, 4],
    );
  });

  it("prints errors as JSON objects with --json", async () => {
    const result = await smhdr("merge", ...jpegs, "--ev", "0,1", "-o", join(folder, "no.exr"), "--json");
    assert.equal(result.code, 2);
    const last = jsonLines(result.stdout).at(-1);
    assert.equal(last?.event, "error");
    assert.equal(last?.code, "INVALID_ARGUMENT");
    const misread = await smhdr("merge", ...jpegs, "--threads", "0", "-o", join(folder, "no.exr"), "--json");
    assert.equal(misread.code, 2);
    const [{ event, code, message }] = jsonLines(misread.stdout);
    assert.deepEqual([event, code], ["error", "INVALID_ARGUMENT"]);
    assert.match(String(message), /^option '--threads/);
  });

  it("says what it had to estimate", async () => {
    const bare = await photograph(join(folder, "bare"), "jpg", { exif: false });
    const path = join(folder, "estimated.exr");
    const result = await smhdr("merge", ...bare, "-o", path);
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stderr, /Note: .*estimated/i);
    const quiet = await smhdr("merge", ...bare, "-o", path, "--quiet");
    assert.deepEqual([quiet.code, quiet.stderr], [0, ""]);
  });

  it("uses both of two equal exposures, and says so", async () => {
    const copy = join(folder, "copy.jpg");
    await copyFile(jpegs[1], copy);
    const result = await smhdr("merge", jpegs[0], jpegs[1], copy, "-o", join(folder, "equal.exr"));
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stderr, /Note: .*same exposure/);
  });

  it("reads 16-bit TIFF and PNG with given exposure values", async () => {
    for (const format of ["tif", "png"] as const) {
      const paths = await photograph(join(folder, format), format, { stops: [0, 2] });
      const result = await smhdr("merge", ...paths, "--ev", "0,2", "-o", join(folder, `${format}.exr`));
      assert.equal(result.code, 0, result.stderr);
    }
  });

  it("reads 16-bit grey", async () => {
    const paths = await Promise.all(
      [0, 2].map(async (stop) => {
        const grey = new Uint16Array(64 * 48).map((_, i) => Math.min(65535, ((i % 64) + 1) * 250 * 2 ** (stop / 2.2)));
        const path = join(folder, `grey-${stop}.png`);
        await sharp(grey, { raw: { width: 64, height: 48, channels: 1 } })
          .toColourspace("grey16")
          .png()
          .toFile(path);
        return path;
      }),
    );
    const result = await smhdr("merge", ...paths, "--ev", "0,2", "-o", join(folder, "grey.exr"));
    assert.equal(result.code, 0, result.stderr);
  });

  it("reads CMYK", async () => {
    const paths = jpegs.map((_, index) => join(folder, `cmyk-${index}.jpg`));
    await Promise.all(jpegs.map((path, i) => sharp(path).toColourspace("cmyk").keepExif().jpeg().toFile(paths[i])));
    const result = await smhdr("merge", ...paths, "-o", join(folder, "cmyk.exr"));
    assert.equal(result.code, 0, result.stderr);
  });

  it("takes photographs of one pixel", async () => {
    const paths = await photograph(join(folder, "pixel"), "png", { width: 1, height: 1, stops: [0, 2] });
    const result = await smhdr("merge", ...paths, "--ev", "0,2", "-o", join(folder, "pixel.exr"));
    assert.equal(result.code, 0, result.stderr);
    assert.equal((await readRadiance(join(folder, "pixel.exr"))).data.length, 3);
  });

  it("shows help with examples", async () => {
    for (const command of ["merge", "devices", "build-addon"]) {
      const result = await smhdr(command, "--help");
      assert.equal(result.code, 0);
      assert.match(result.stdout, /Examples?:\n {2}.*smhdr/);
    }
  });

  it("says what to build when the addon is missing, and leaves nothing", async () => {
    const out = await mkdtemp(join(folder, "out-"));
    const { finished } = start(["merge", ...jpegs, "--method", "radiance", "-o", join(out, "a.exr")], {
      env: { SMHDR_ADDON: "/no/addon.node" },
    });
    const result = await finished;
    assert.equal(result.code, 1);
    assert.match(result.stderr, /\/no\/addon\.node.*not there[\s\S]*npm run build:addon[\s\S]*CMake/);
    assert.deepEqual(await readdir(out), []);
  });
});

describe("smhdr merge, stopped or out of space", () => {
  let large: string[];
  before(async () => {
    await mkdir(join(folder, "large"));
    large = await Promise.all(
      jpegs.map(async (path, index) => {
        const enlarged = join(folder, "large", `${index}.jpg`);
        await sharp(path).resize(3000, 2000, { kernel: "nearest" }).keepExif().jpeg().toFile(enlarged);
        return enlarged;
      }),
    );
  });

  for (const [signal, stage, method] of [
    ["SIGINT", "Reading", "radiance"],
    ["SIGINT", "Merging", "radiance"],
    ["SIGINT", "Merging", "network"],
    ["SIGTERM", "Writing", "radiance"],
  ] as const) {
    it(`leaves nothing after ${signal} while ${stage.toLowerCase()} (${method})`, async (test) => {
      if (method === "network" && !hasDefaultModel()) return test.skip("no model is shipped");
      const out = await mkdtemp(join(folder, "out-"));
      const args = ["merge", ...large, "--method", method, "-o", join(out, "large.exr"), "--json"];
      const { process: child, finished } = start(args);
      let text = "";
      child.stdout?.on("data", (part) => {
        text += part;
        if (text.includes(`"${stage}"`) && !child.killed) child.kill(signal);
      });
      const result = await finished;
      assert.equal(result.code, 130, `${result.stdout}${result.stderr}`);
      assert.equal(jsonLines(result.stdout).at(-1)?.code, "CANCELLED");
      assert.deepEqual(await readdir(out), []);
    });
  }

  it("tells when no space is left, and leaves nothing", async (test) => {
    const disk = join(folder, "disk");
    await mkdir(disk);
    const mount = spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]);
    if (mount.status !== 0) return test.skip("mounting a small file system is not allowed here");
    try {
      await writeFile(join(disk, "kept.txt"), "kept");
      const result = await smhdr("merge", ...large, "--method", "radiance", "-o", join(disk, "large.exr"));
      assert.equal(result.code, 1, result.stderr);
      assert.match(result.stderr, /no space left/);
      assert.deepEqual(await readdir(disk), ["kept.txt"]);
    } finally {
      spawnSync("umount", [disk]);
    }
  });
});
