import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { bracketFromImages } from "../../src/bracket/read-bracket.js";
import { decodeOpenExr } from "../../src/codec/openexr.js";
import { mergeRadiance } from "../../src/reconstruct/radiance.js";
import type { JobReport } from "../../src/serve/job.js";
import { photograph } from "../bracket/photographs.js";
import { picture } from "./brackets.js";
import { refusal, TestService } from "./client.js";

const WIDTH = 96;
const HEIGHT = 64;
const shape = {
  width: WIDTH,
  height: HEIGHT,
  format: "uint16",
  exposures: [{ name: "a" }, { name: "b" }, { name: "c" }],
};
const encoding = { transfer: "srgb", primaries: "srgb" } as const;
const imageOf = (data: Uint16Array) => ({ width: WIDTH, height: HEIGHT, channels: 3, data, encoding }) as const;

describe("jobs of raw rows", () => {
  let service: TestService;
  before(async () => {
    service = await TestService.start();
  });
  after(() => service.close());

  const create = async (fields: object = {}): Promise<string> => {
    const response = await service.post("/v1/jobs", { ...shape, ...fields });
    assert.equal(response.status, 201);
    return ((await response.json()) as JobReport).id;
  };
  const upload = async (id: string, pictures: readonly Uint16Array[]) => {
    for (const [i, data] of pictures.entries()) {
      assert.equal((await service.put(`/v1/jobs/${id}/exposures/${i}`, data)).status, 204);
    }
  };
  const merge = async (id: string, settings?: object): Promise<JobReport> => {
    const response = await service.post(`/v1/jobs/${id}/merge`, settings);
    assert.equal(response.status, 202);
    const events = await service.events(id);
    return events.at(-1)?.data as unknown as JobReport;
  };
  const rows = async (id: string, query = "") =>
    new Float32Array(await (await service.fetch(`/v1/jobs/${id}/result${query}`)).arrayBuffer());
  const remove = async (id: string) =>
    assert.equal((await service.fetch(`/v1/jobs/${id}`, { method: "DELETE" })).status, 204);

  it("merge strips sent in any order into what the library makes of the same pixels", async () => {
    // Not in order of exposure: the reference is named by its place in the list.
    const stops = [2, 0, 4];
    const pictures = stops.map((stop) => picture(WIDTH, HEIGHT, stop));
    const id = await create({ ev: stops, reference: 1, align: "none" });
    for (const [first, count] of [
      [40, 24],
      [0, 7],
      [7, 33],
      [0, 7],
    ]) {
      for (const [i, data] of pictures.entries()) {
        const strip = data.subarray(first * WIDTH * 3, (first + count) * WIDTH * 3);
        const answer = await service.put(`/v1/jobs/${id}/exposures/${i}?row=${first}&rows=${count}`, strip);
        assert.equal(answer.status, 204);
      }
    }
    const job = await merge(id);
    assert.equal(job.state, "done");
    assert.deepEqual(
      job.exposures.map(({ ev }) => ev),
      stops,
    );
    const { seconds, ...result } = job.result ?? assert.fail();
    assert.ok(seconds > 0);
    assert.deepEqual(result, {
      width: WIDTH,
      height: HEIGHT,
      primaries: "srgb",
      reference: 1,
      ev: stops,
      evSource: "given",
      method: "radiance",
      model: null,
    });

    const sorted = [1, 0, 2].map((i) => imageOf(pictures[i]));
    const expected = await mergeRadiance(
      await bracketFromImages(sorted, { ev: [0, 2, 4], reference: 0, align: "none" }),
    );
    assert.deepEqual(await rows(id), expected.data);
    assert.deepEqual(await rows(id, "?row=10&rows=3"), expected.data.slice(10 * WIDTH * 3, 13 * WIDTH * 3));
    // As bright as the reference: here the shortest, so nothing changes; then with the middle one.
    assert.deepEqual(await rows(id, "?white=reference"), expected.data);
    await merge(id, { reference: 0 });
    const plain = await rows(id);
    assert.deepEqual(
      await rows(id, "?white=reference"),
      plain.map((value) => value * 4),
    );
    await remove(id);
    assert.match(await refusal(service.fetch(`/v1/jobs/${id}`)), /^404 NOT_FOUND/);
  });

  it("take float32 and 8-bit rows, a gamma, and find exposure values themselves", async () => {
    const stops = [0, 2, 4];
    const light = stops.map((stop) => picture(WIDTH, HEIGHT, stop));
    const id = await create({ format: "uint8", exposures: [{}, {}, {}] });
    for (const [i, data] of light.entries()) {
      await service.put(
        `/v1/jobs/${id}/exposures/${i}`,
        Uint8Array.from(data, (v) => Math.round(v / 257)),
      );
    }
    const found = (await (await service.fetch(`/v1/jobs/${id}/exposure-values`)).json()) as {
      values: number[];
      source: string;
    };
    assert.equal(found.source, "estimated");
    for (const [i, stop] of stops.entries()) assert.ok(Math.abs(found.values[i] - stop) < 0.4, `${found.values}`);
    const job = await merge(id);
    assert.equal(job.result?.evSource, "estimated");
    assert.match(job.notes.map(({ message }) => message).join(), /estimated/);
    await remove(id);

    // The same light by two encodings is the same result.
    const results: Float32Array[] = [];
    for (const [transfer, exponent] of [
      ["linear", 1],
      [{ gamma: 1.8 }, 1 / 1.8],
    ] as const) {
      const floats = await create({
        format: "float32",
        encoding: { transfer, primaries: "rec2020" },
        ev: stops,
        align: "none",
      });
      for (const [i, stop] of stops.entries()) {
        const data = Float32Array.from(
          { length: WIDTH * HEIGHT * 3 },
          (_, k) => Math.min(1, ((k % 977) / 977) * 2 ** (stop - 4)) ** exponent,
        );
        assert.equal((await service.put(`/v1/jobs/${floats}/exposures/${i}`, data)).status, 204);
      }
      assert.equal((await merge(floats)).result?.primaries, "rec2020");
      results.push(await rows(floats));
      await remove(floats);
    }
    const worst = results[0].reduce((most, value, i) => Math.max(most, Math.abs(value - results[1][i])), 0);
    assert.ok(worst < 2e-3, `${worst}`);
  });

  it("give a small preview, then the whole, from the same upload", async () => {
    const id = await create({ ev: [0, 2, 4] });
    await upload(
      id,
      [0, 2, 4].map((stop) => picture(WIDTH, HEIGHT, stop)),
    );
    const preview = await merge(id, { size: 64 });
    assert.deepEqual([preview.result?.width, preview.result?.height], [64, 43]);
    assert.equal((await rows(id)).length, 64 * 43 * 3);
    const whole = await merge(id);
    assert.deepEqual([whole.result?.width, whole.result?.height], [WIDTH, HEIGHT]);
    await remove(id);
  });

  it("follow what moved, which then is no ghost", async () => {
    const [width, height] = [240, 180];
    /** Waves, and before them a disc of others, `moved` pixels to the right. */
    const disc = (moved: number, stops: number) =>
      Uint16Array.from({ length: width * height * 3 }, (_, i) => {
        const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
        const u = x - moved;
        const wall = 0.05 + 0.03 * Math.sin(x / 3 + 2 * Math.sin(y / 11)) * Math.cos(y / 4);
        const light = Math.hypot(u - 100, y - 90) < 36 ? 0.25 + 0.1 * Math.sin(u / 2.7) * Math.cos(y / 3.1) : wall;
        return Math.round(65535 * Math.min(1, light * 2 ** stops) ** (1 / 2.2));
      });
    const ghosts = async (follow: "auto" | "none" | null) => {
      const encoding = { transfer: "gamma2.2" };
      const id = await create({ width, height, encoding, ev: [2, 0, 1], reference: 2, align: "none", follow });
      await upload(id, [disc(-9, 1), disc(9, -1), disc(0, 0)]);
      const job = await merge(id);
      assert.equal(job.state, "done");
      assert.equal(job.notes.filter(({ code }) => code === "motion").length, follow === "auto" ? 1 : 0);
      const map = new Uint8Array(await (await service.fetch(`/v1/jobs/${id}/ghosts`)).arrayBuffer());
      await remove(id);
      let sum = 0;
      for (let y = 60; y < 120; y++) for (let x = 70; x < 130; x++) sum += map[y * width + x];
      return sum / 3600;
    };
    const [followed, left, asAlign] = [await ghosts("auto"), await ghosts("none"), await ghosts(null)];
    assert.ok(followed < left / 4, `${followed} followed, ${left} not`);
    assert.equal(asAlign, left);
  });

  it("show where something moved, and the result at any exposure", async () => {
    const [width, height] = [192, 96];
    // A bright square that only the reference and the longest exposure have elsewhere.
    const pictures = [picture(width, height, 0, 20), picture(width, height, 2, 80), picture(width, height, 4, 80)];
    const id = await create({ width, height, ev: [0, 2, 4], reference: 1, align: "none" });
    await upload(id, pictures);
    await merge(id);
    const answer = await service.fetch(`/v1/jobs/${id}/ghosts`);
    assert.deepEqual([answer.headers.get("smhdr-width"), answer.headers.get("smhdr-height")], ["192", "96"]);
    const map = new Uint8Array(await answer.arrayBuffer());
    const mean = (x0: number, x1: number, y0: number, y1: number) => {
      let sum = 0;
      for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) sum += map[y * width + x];
      return sum / ((x1 - x0) * (y1 - y0));
    };
    assert.ok(mean(24, 40, 24, 40) > 60, `where it was in the shortest: ${mean(24, 40, 24, 40)}`);
    assert.ok(mean(110, 180, 0, 96) < 8, `where nothing moved: ${mean(110, 180, 0, 96)}`);

    const view = async (query: string) => {
      const picture = await service.fetch(`/v1/jobs/${id}/view?${query}`, { headers: { accept: "image/png" } });
      assert.equal(picture.headers.get("content-type"), "image/png");
      const { data, info } = await sharp(Buffer.from(await picture.arrayBuffer()))
        .raw()
        .toBuffer({ resolveWithObject: true });
      return { data, info };
    };
    const [plain, darker, tinted] = [await view(""), await view("exposure=-2"), await view("ghosts=true")];
    assert.deepEqual([plain.info.width, plain.info.height], [192, 96]);
    // 0: as the reference was, except where that clipped or noise was averaged.
    const at = (10 * width + 60) * 3;
    assert.ok(Math.abs(plain.data[at] - pictures[1][at] / 257) <= 4, `${plain.data[at]} ${pictures[1][at] / 257}`);
    assert.ok(darker.data[at] < plain.data[at]);
    const ghost = (32 * width + 32) * 3;
    assert.ok(tinted.data[ghost] > plain.data[ghost] + 40);
    assert.deepEqual(tinted.data.subarray(at, at + 3), plain.data.subarray(at, at + 3));
    const small = await service.fetch(`/v1/jobs/${id}/view?size=32`);
    assert.equal((await sharp(Buffer.from(await small.arrayBuffer())).metadata()).width, 32);
    await remove(id);
  });

  it("give the result as the file that is accepted", async () => {
    const id = await create({ ev: [0, 2, 4] });
    await upload(
      id,
      [0, 2, 4].map((stop) => picture(WIDTH, HEIGHT, stop)),
    );
    await merge(id);
    const get = async (accept: string, query = "") => {
      const answer = await service.fetch(`/v1/jobs/${id}/result${query}`, { headers: { accept } });
      assert.equal(answer.status, 200, accept);
      const bytes = Buffer.from(await answer.arrayBuffer());
      assert.equal(Number(answer.headers.get("content-length")), bytes.length);
      return { type: answer.headers.get("content-type"), bytes };
    };
    const exr = await get("image/x-exr");
    assert.equal(exr.type, "image/x-exr");
    const read = await decodeOpenExr(exr.bytes);
    assert.deepEqual([read.width, read.height], [WIDTH, HEIGHT]);
    assert.equal((await get("image/vnd.radiance")).bytes.subarray(0, 10).toString(), "#?RADIANCE");
    assert.equal((await get("image/webp;q=0.5, image/tiff")).type, "image/webp");
    for (const [format, name] of [
      ["jpg", "jpeg"],
      ["png", "png"],
      ["tif", "tiff"],
    ]) {
      const { format: found } = await sharp((await get("*/*", `?format=${format}`)).bytes).metadata();
      assert.equal(found, name);
    }
    assert.equal((await get("*/*")).type, "application/octet-stream");
    assert.match(
      await refusal(service.fetch(`/v1/jobs/${id}/result`, { headers: { accept: "text/html" } })),
      /^406 INVALID_ARGUMENT Accept/,
    );
    assert.match(await refusal(service.fetch(`/v1/jobs/${id}/result?format=gif`)), /^400 INVALID_ARGUMENT format/);
    assert.match(await refusal(service.fetch(`/v1/jobs/${id}/result?row=60&rows=5`)), /^400 INVALID_ARGUMENT row/);
    await remove(id);
  });

  it("refuse what makes no sense, naming it", async () => {
    const bad: [fields: object, pattern: RegExp][] = [
      [{ width: 0 }, /^400 INVALID_ARGUMENT width: expected a whole number, 1 or more; got 0\.$/],
      [{ width: "96" }, /^400 INVALID_ARGUMENT width: expected a whole number, 1 or more; got "96"\.$/],
      [{ width: undefined }, /^400 INVALID_ARGUMENT width, height and format/],
      [{ width: 100000, height: 100000 }, /^413 TOO_LARGE/],
      [{ format: "uint32" }, /^400 INVALID_ARGUMENT format: expected "uint8", "uint16" or "float32"; got "uint32"\.$/],
      [{ exposures: [] }, /^400 INVALID_ARGUMENT exposures: expected a list of 1 to 16 values; got \[\]\.$/],
      [{ exposures: undefined }, /^400 INVALID_ARGUMENT exposures: expected a list of 1 to 16 values; got nothing\.$/],
      [{ exposures: [{}, 1] }, /^400 INVALID_ARGUMENT exposures\.1: expected an object; got 1\.$/],
      [
        { exposures: [{ title: "a" }] },
        /^400 INVALID_ARGUMENT exposures\.0\.title: there is no such field; expected name\.$/,
      ],
      [{ use: [0, 3] }, /^400 INVALID_ARGUMENT use: expected indices from 0 to 2; got 3/],
      [{ use: [0, 1], reference: 2 }, /^400 INVALID_ARGUMENT reference: expected one of use/],
      [{ use: [1] }, /^400 INVALID_ARGUMENT use: expected a list of 2 to 16 different values or null; got \[1\]\.$/],
      [{ use: [0, 1.5] }, /^400 INVALID_ARGUMENT use\.1: expected a whole number from 0 to 15; got 1\.5\.$/],
      [
        { use: [1, 1] },
        /^400 INVALID_ARGUMENT use: expected a list of 2 to 16 different values or null; got \[1,1\]\.$/,
      ],
      [{ exposures: Array(20).fill({}) }, /^400 INVALID_ARGUMENT exposures: expected a list of 1 to 16 values; got /],
      [{ ev: [0, 2] }, /^400 INVALID_ARGUMENT ev: expected 3 values/],
      [{ ev: [0, 2, 400] }, /^400 INVALID_ARGUMENT ev: expected stops/],
      [{ ev: "0,2,4" }, /^400 INVALID_ARGUMENT ev: expected a list of 1 to 16 values or null; got "0,2,4"\.$/],
      [{ reference: 3 }, /^400 INVALID_ARGUMENT reference: expected 0 to 2/],
      [{ method: "magic" }, /^400 INVALID_ARGUMENT method: expected "radiance", "network" or null; got "magic"\.$/],
      [{ model: "/etc/passwd" }, /^400 INVALID_ARGUMENT model: expected one of/],
      [{ shoes: 1 }, /^400 INVALID_ARGUMENT shoes: there is no such field; expected use, ev, /],
      [
        { encoding: { transfer: "log" } },
        /^400 INVALID_ARGUMENT encoding\.transfer: expected "linear", .* or an object with gamma; got "log"\.$/,
      ],
      [
        { encoding: { transfer: { gamma: 9 } } },
        /^400 INVALID_ARGUMENT encoding\.transfer\.gamma: expected a number from 0\.2 to 5; got 9\.$/,
      ],
      [
        { encoding: { transfer: {} } },
        /^400 INVALID_ARGUMENT encoding\.transfer\.gamma: expected a number from 0\.2 to 5; got nothing\.$/,
      ],
      [{ source: "files" }, /^400 INVALID_ARGUMENT width: files say that themselves/],
    ];
    for (const [fields, pattern] of bad)
      assert.match(await refusal(service.post("/v1/jobs", { ...shape, ...fields })), pattern);
    const json = { "content-type": "application/json" };
    assert.match(
      await refusal(service.fetch("/v1/jobs", { method: "POST", headers: json, body: "{" })),
      /^400 INVALID_ARGUMENT The body: expected JSON; got "{"\.$/,
    );
    assert.match(
      await refusal(service.fetch("/v1/jobs", { method: "POST", headers: json })),
      /^400 INVALID_ARGUMENT The body: expected an object with exposures; got nothing\.$/,
    );
    assert.match(
      await refusal(service.post("/v1/jobs", [1])),
      /^400 INVALID_ARGUMENT The body: expected an object with exposures; got \[1\]\.$/,
    );
    assert.match(
      await refusal(
        service.fetch("/v1/jobs", { method: "POST", headers: { "content-type": "text/plain" }, body: "x" }),
      ),
      /^415 INVALID_ARGUMENT Content-Type: expected application\/json; got text\/plain\.$/,
    );
    assert.match(
      await refusal(service.fetch("/v1/jobs", { method: "POST", headers: json, body: " ".repeat(2 << 20) })),
      /^413 TOO_LARGE The body: expected at most 1048576 bytes; got more\.$/,
    );
    const { jobs } = (await (await service.fetch("/v1/jobs")).json()) as { jobs: unknown[] };
    assert.deepEqual(jobs, []);
  });

  it("refuse parameters of a query that are unknown, or mean nothing there", async () => {
    const id = await create({ ev: [0, 2, 4], align: "none" });
    const { id: files } = (await (
      await service.post("/v1/jobs", { source: "files", exposures: [{}, {}] })
    ).json()) as JobReport;
    await upload(
      id,
      [0, 2, 4].map((stop) => picture(WIDTH, HEIGHT, stop)),
    );
    await merge(id, { method: "radiance" });
    for (const [query, message] of [
      ["result?white=reference&format=exr", "white: expected only for rows; got it with the format exr"],
      ["result?row=0&format=jpg", "row: expected only for rows; got it with the format jpg"],
      ["result?rows=4&format=tif", "rows: expected only for rows; got it with the format tif"],
      ["result?precision=float", "precision: expected only for exr; got it with the format rows"],
      ["result?precision=float&format=hdr", "precision: expected only for exr; got it with the format hdr"],
      ["result?white=1", 'white: expected "shortest" or "reference"; got "1"'],
      ["result?row=x", 'row: expected a whole number, 0 or more; got "x"'],
      ["result?size=1", "size: there is no such parameter here; expected format, row, rows, white, precision"],
      ["view?exposure=30", "exposure: expected a number from -20 to 20; got 30"],
      ["view?ghosts=yes", 'ghosts: expected true or false; got "yes"'],
      ["ghosts?size=8", "size: expected a whole number from 16 to 4096; got 8"],
      ["exposure-values?use=1", 'use: expected two or more indices of exposures, such as 0,2; got "1"'],
      ["events?size=1", "size: there is no such parameter here; expected none"],
    ]) {
      assert.equal(await refusal(service.fetch(`/v1/jobs/${id}/${query}`)), `400 INVALID_ARGUMENT ${message}.`);
    }
    assert.equal(
      await refusal(service.fetch(`/v1/jobs/${id}/result?white=reference`, { headers: { accept: "image/png" } })),
      "400 INVALID_ARGUMENT white: expected only for rows; got it with the format png.",
    );
    assert.equal((await service.fetch(`/v1/jobs/${id}/result?format=exr&precision=float`)).status, 200);
    assert.equal(
      await refusal(service.put(`/v1/jobs/${id}/exposures/0?alpha=flatten`, picture(WIDTH, HEIGHT, 0))),
      "400 INVALID_ARGUMENT alpha: expected only for a job of files; got it with one of raw rows.",
    );
    assert.equal(
      await refusal(service.put(`/v1/jobs/${files}/exposures/0?row=1`, "x")),
      "400 INVALID_ARGUMENT row: expected only for a job of raw rows; got it with one of files.",
    );
    assert.match(await refusal(service.fetch("/v1/status?x=1")), /^400 INVALID_ARGUMENT x: there is no such parameter/);
    await remove(id);
    await remove(files);
  });

  it("give views and ghost maps of one size, whatever the map was made from", async () => {
    const [width, height] = [1152, 24]; // the map is made 1024 x 21
    const id = await create({ width, height, ev: [0, 2, 4], align: "none" });
    await upload(
      id,
      [0, 2, 4].map((stop) => picture(width, height, stop)),
    );
    await merge(id, { method: "radiance" });
    for (const size of [1024, 800, 333, 64]) {
      const map = await service.fetch(`/v1/jobs/${id}/ghosts?size=${size}`);
      const view = await service.fetch(`/v1/jobs/${id}/view?size=${size}`);
      const shown = await sharp(Buffer.from(await view.arrayBuffer())).metadata();
      const told = [map.headers.get("smhdr-width"), map.headers.get("smhdr-height")].map(Number);
      assert.deepEqual(told, [shown.width, shown.height]);
      assert.equal((await map.arrayBuffer()).byteLength, told[0] * told[1]);
    }
    await remove(id);
  });

  it("refuse rows that do not fit, and merge nothing that is incomplete", async () => {
    const id = await create({ ev: [0, 2, 4] });
    const strip = new Uint16Array(4 * WIDTH * 3);
    const put = (query: string, body: ArrayBufferView = strip) =>
      refusal(service.put(`/v1/jobs/${id}/exposures/${query}`, body));
    assert.match(await put("3?row=0&rows=4"), /^404 NOT_FOUND exposure: expected 0 to 2; got 3/);
    assert.match(await put("x?row=0&rows=4"), /^404 NOT_FOUND/);
    assert.match(await put("0?row=62&rows=4"), /^400 INVALID_ARGUMENT row, rows/);
    assert.match(await put("0?row=-1&rows=4"), /^400 INVALID_ARGUMENT row/);
    assert.match(await put("0?row=0&rows=0"), /^400 INVALID_ARGUMENT row, rows/);
    assert.match(await put("0?row=0&rows=5"), /^400 INVALID_ARGUMENT The body: expected 2880 bytes .* got 2304/);
    assert.match(await put("0?row=0&rows=3"), /^400 INVALID_ARGUMENT The body/);
    // Without a length beforehand: too long and too short are found while reading.
    for (const rows of [3, 5]) {
      const body = new ReadableStream({
        start(controller) {
          controller.enqueue(new Uint8Array(strip.buffer));
          controller.close();
        },
      });
      const path = `/v1/jobs/${id}/exposures/0?row=0&rows=${rows}`;
      const init = { method: "PUT", body, duplex: "half" } as RequestInit;
      assert.match(await refusal(service.fetch(path, init)), /^400 INVALID_ARGUMENT The body/);
    }
    assert.match(
      await refusal(service.post(`/v1/jobs/${id}/merge`)),
      /^422 BAD_INPUT exposure 0 \(a\): rows 0 to 63 have not/,
    );
    await upload(
      id,
      [0, 2].map((stop) => picture(WIDTH, HEIGHT, stop)),
    );
    await service.put(`/v1/jobs/${id}/exposures/2?row=0&rows=10`, new Uint16Array(10 * WIDTH * 3));
    assert.match(
      await refusal(service.post(`/v1/jobs/${id}/merge`)),
      /^422 BAD_INPUT exposure 2 \(c\): rows 10 to 63 have not/,
    );
    assert.match(
      await refusal(service.fetch(`/v1/jobs/${id}/result`)),
      /^409 CONFLICT There is no result yet: the job is open/,
    );
    assert.match(await refusal(service.fetch(`/v1/jobs/${id}/view`)), /^409 CONFLICT/);
    assert.match(await refusal(service.fetch(`/v1/jobs/${id}/exposure-values`)), /^422 BAD_INPUT/);
    assert.match(await refusal(service.fetch(`/v1/jobs/${id}/exposures/2/thumbnail`)), /^409 CONFLICT/);
    await remove(id);

    const floats = await create({ format: "float32" });
    const data = new Float32Array(WIDTH * HEIGHT * 3);
    data[17] = Number.NaN;
    assert.match(
      await refusal(service.put(`/v1/jobs/${floats}/exposures/0`, data)),
      /^422 BAD_INPUT a: expected finite/,
    );
    await remove(floats);
  });

  it("say why a merge failed, and can be merged again with other settings", async () => {
    const id = await create({ ev: [0, 2, 4] });
    await upload(
      id,
      [0, 2, 4].map((stop) => picture(WIDTH, HEIGHT, stop)),
    );
    const failed = await merge(id, { method: "network", reference: 0 });
    assert.equal(failed.state, "failed");
    assert.equal(failed.error?.code, "UNSUPPORTED");
    assert.match(failed.error?.message ?? "", /reference/);
    assert.match(
      await refusal(service.post(`/v1/jobs/${id}/merge`, { method: "radiance", size: 1 })),
      /^400 INVALID_ARGUMENT size/,
    );
    assert.equal((await merge(id, { method: "radiance" })).state, "done");
    assert.equal((await service.events(id)).at(-1)?.event, "done");
    await remove(id);
  });

  it("merge some of their exposures, as if the others were not there", async () => {
    const stops = [4, 9, 0, 2];
    const id = await create({ exposures: [{}, { name: "never sent" }, {}, {}], align: "none" });
    const pictures = stops.map((stop) => picture(WIDTH, HEIGHT, stop));
    for (const i of [0, 2, 3]) await service.put(`/v1/jobs/${id}/exposures/${i}`, pictures[i]);
    assert.match(await refusal(service.post(`/v1/jobs/${id}/merge`)), /^422 BAD_INPUT exposure 1 \(never sent\)/);
    const answer = await service.fetch(`/v1/jobs/${id}/exposure-values?use=2,0,3`);
    const { values } = (await answer.json()) as { values: (number | null)[] };
    assert.equal(values[1], null);
    assert.ok((values[0] ?? 0) > (values[3] ?? 9) && values[2] === 0);
    const job = await merge(id, { use: [0, 2, 3], ev: stops, reference: 3, method: "radiance" });
    assert.deepEqual([job.result?.ev, job.result?.reference], [[4, null, 0, 2], 3]);
    const images = [2, 3, 0].map((i) => imageOf(pictures[i]));
    const expected = await mergeRadiance(
      await bracketFromImages(images, { ev: [0, 2, 4], reference: 1, align: "none" }),
    );
    assert.deepEqual(await rows(id), expected.data);
    await remove(id);
  });

  it("merge two exposures of one value, and 16", async () => {
    const stops = Array.from({ length: 16 }, (_, i) => Math.floor(i / 2));
    const id = await create({ exposures: stops.map((stop) => ({ name: `${stop}` })), ev: stops, align: "none" });
    await upload(
      id,
      stops.map((stop) => picture(WIDTH, HEIGHT, stop)),
    );
    const job = await merge(id);
    assert.equal(job.state, "done", job.error?.message);
    assert.match(job.notes.map(({ code }) => code).join(), /equal-exposures/);
    await remove(id);
  });
});

describe("jobs of files", () => {
  let service: TestService;
  before(async () => {
    service = await TestService.start();
  });
  after(() => service.close());

  it("are decoded by the service, exposure values from EXIF", async () => {
    const response = await service.post("/v1/jobs", {
      source: "files",
      exposures: [{ name: "x.png" }, { name: "y.png" }, {}],
    });
    const { id, width } = (await response.json()) as JobReport;
    assert.equal(width, null);
    for (const [i, [stops, time]] of (
      [
        [2, "1/100"],
        [0, "1/400"],
        [4, "1/25"],
      ] as const
    ).entries()) {
      const answer = await service.put(`/v1/jobs/${id}/exposures/${i}`, await photograph({ stops, time }));
      const told = (await answer.json()) as { width: number; height: number; depth: string; stops: number };
      assert.deepEqual({ ...told, stops: 0 }, { width: 160, height: 96, depth: "uint8", stops: 0 });
      assert.ok(Math.abs(told.stops - (Math.log2(1 / 400) + stops)) < 1e-6);
    }
    const thumb = await service.fetch(`/v1/jobs/${id}/exposures/2/thumbnail?size=64`);
    const { width: thumbWidth } = await sharp(Buffer.from(await thumb.arrayBuffer())).metadata();
    assert.equal(thumbWidth, 64);
    await service.post(`/v1/jobs/${id}/merge`);
    const job = (await service.events(id)).at(-1)?.data as unknown as JobReport;
    assert.equal(job.state, "done", job.error?.message);
    assert.equal(job.result?.evSource, "exif");
    assert.deepEqual(
      job.result?.ev.map((value) => Math.round(value ?? -1)),
      [2, 0, 4],
    );
    assert.equal(job.result?.reference, 0);
  });

  it("are refused when they are no photographs, with what to do", async () => {
    const response = await service.post("/v1/jobs", {
      source: "files",
      exposures: [{ name: "x.png" }, { name: "y.png" }],
    });
    const { id } = (await response.json()) as JobReport;
    const put = (i: number, body: ArrayBufferView | string, query = "") =>
      service.put(`/v1/jobs/${id}/exposures/${i}${query}`, body);
    assert.match(await refusal(put(0, "no picture")), /^422 BAD_INPUT x.png is not an image/);
    assert.match(await refusal(put(0, "")), /^422 BAD_INPUT x.png is empty/);
    const whole = await photograph({ stops: 0 }, "jpeg");
    assert.match(await refusal(put(0, whole.subarray(0, whole.length / 2))), /^422 BAD_INPUT x.png is damaged/);
    const transparent = await sharp({ create: { width: 160, height: 96, channels: 4, background: "#1238" } })
      .png()
      .toBuffer();
    assert.match(await refusal(put(0, transparent)), /^422 UNSUPPORTED x.png has an alpha channel/);
    assert.equal((await put(0, transparent, "?alpha=flatten")).status, 200);
    const grey = await sharp({ create: { width: 161, height: 96, channels: 3, background: "#888" } })
      .toColourspace("b-w")
      .png()
      .toBuffer();
    assert.equal((await put(1, grey)).status, 200);
    await service.post(`/v1/jobs/${id}/merge`, { ev: [0, 2] });
    const job = (await service.events(id)).at(-1)?.data as unknown as JobReport;
    assert.equal(job.error?.code, "BAD_INPUT");
    assert.match(job.error?.message ?? "", /one size: x.png is 160 x 96, y.png is 161 x 96/);
  });
});
