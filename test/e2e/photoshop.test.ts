import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { type Service, startService } from "../../src/serve/service.js";
import { launch, noChromium } from "./chromium.js";
import { checkBuilt } from "./fresh.js";
import type { FakeDocument, FakeLayer, FakeSetup } from "./photoshop-fakes.js";

const plugin = fileURLToPath(new URL("../../dist/photoshop/", import.meta.url));
const LONG = { timeout: 120_000 };
const START_FILE = "file:/Users/someone/Library/Application Support/smhdr/service.json";
const types: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };

const [WIDTH, HEIGHT] = [320, 200];
const full = { left: 0, top: 0, right: WIDTH, bottom: HEIGHT };
const layer = (id: number, name: string, stops: number, more: Partial<FakeLayer> = {}): FakeLayer => ({
  id,
  name,
  stops,
  bounds: full,
  ...more,
});
const bracket = [layer(1, "-2EV", 0), layer(2, "0EV", 2), layer(3, "+2EV", 4)];
const document_ = (layers: readonly FakeLayer[], more: Partial<FakeDocument> = {}): FakeDocument => ({
  id: 7,
  name: "stack.psd",
  width: WIDTH,
  height: HEIGHT,
  mode: "RGBColorMode",
  bits: 16,
  profile: "sRGB IEC61966-2.1",
  layers,
  ...more,
});

/** Large enough for the larger model to take seconds: time to stop it. */
const large = (() => {
  const [width, height] = [1280, 960];
  const bounds = { left: 0, top: 0, right: width, bottom: height };
  return document_(
    bracket.map((one) => ({ ...one, bounds })),
    { width, height },
  );
})();

describe("the panel in a stand-in for Photoshop", { skip: noChromium }, () => {
  let browser: Browser;
  let service: Service;
  let pages: Server;
  let folder: string;
  let fakes: string;
  let page: Page;

  const startReal = async () =>
    startService({
      version: "0.0.0",
      startFile: join(folder, `${Math.random()}.json`),
      allowedOrigins: [`http://127.0.0.1:${(pages.address() as AddressInfo).port}`],
    });
  before(async () => {
    checkBuilt("photoshop");
    browser = await launch();
    folder = await mkdtemp(join(tmpdir(), "smhdr-test-"));
    const bundled = await build({
      entryPoints: [fileURLToPath(new URL("photoshop-fakes.ts", import.meta.url))],
      bundle: true,
      write: false,
      format: "iife",
    });
    fakes = bundled.outputFiles[0].text;
    pages = createServer(async (request, response) => {
      const name = request.url === "/" ? "index.html" : (request.url ?? "").slice(1);
      const bytes = await readFile(join(plugin, name)).catch(() => undefined);
      response.writeHead(bytes ? 200 : 404, { "content-type": types[extname(name)] ?? "image/png" }).end(bytes);
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => pages.once("listening", resolve));
    service = await startReal();
  });
  afterEach(async () => {
    await page?.close();
    const headers = { authorization: `Bearer ${service.token}` };
    const origin = `http://127.0.0.1:${service.port}`;
    const { jobs } = (await (await fetch(`${origin}/v1/jobs`, { headers })).json()) as { jobs: { id: string }[] };
    for (const { id } of jobs) await fetch(`${origin}/v1/jobs/${id}`, { method: "DELETE", headers });
  });
  after(async () => {
    await browser?.close();
    await service?.close();
    pages?.close();
    if (folder) await rm(folder, { recursive: true, force: true });
  });

  const open = async (documents: readonly FakeDocument[], more: Partial<FakeSetup> = {}): Promise<void> => {
    const { requiredPermissions } = JSON.parse(await readFile(join(plugin, "manifest.json"), "utf8"));
    const { port, token } = service;
    const setup: FakeSetup = {
      documents,
      files: { [START_FILE]: JSON.stringify({ port, token, pid: 1, version: "0.0.0" }) },
      origins: requiredPermissions.network.domains,
      memoryLimit: 600e6,
      ...more,
    };
    page = await browser.newPage({ viewport: { width: 340, height: 900 } });
    page.setDefaultTimeout(20_000);
    page.on("pageerror", (error) => assert.fail(error.message));
    await page.addInitScript({ content: `window.fakeSetup = ${JSON.stringify(setup)};\n${fakes}` });
    await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
  };
  const connected = () => page.getByText("connected", { exact: true }).waitFor();
  const button = (name: string) => page.getByRole("button", { name, exact: true });
  const tick = (name: string) => page.getByRole("checkbox", { name: new RegExp(`^${name.replace("+", "\\+")}`) });
  const state = () =>
    page.evaluate(() => {
      const { created, opened, deleted, held, heldAtMost, largestStrip, requests } = window.fake;
      const documents = created.map(({ options, closed, pixels }) => ({
        options,
        closed,
        rows: Array.from({ length: Number(options.height) }, (_, y) => pixels[y * Number(options.width) * 3 + 30]),
        finite: pixels.every(Number.isFinite),
      }));
      return { documents, opened, deleted, held, heldAtMost, largestStrip, requests };
    });
  const merged = () => page.getByText(/^The merged image is the new document/).waitFor();

  for (const bits of [8, 16, 32] as const) {
    it(`merges the layers of a ${bits}-bit document into a new one of 32 bits`, LONG, async () => {
      const profile = bits === 32 ? "Display P3 (Linear RGB Profile)" : "Display P3";
      await open([document_(bracket, { bits, profile })]);
      await connected();
      const evs = await page
        .locator("input.ev")
        .evaluateAll((all) => all.map((one) => (one as HTMLInputElement).value));
      assert.deepEqual(evs, ["-2", "0", "+2"]);
      await page.waitForFunction(() =>
        [...document.querySelectorAll<HTMLImageElement>("img.thumbnail")].every((i) => i.naturalWidth > 0),
      );
      await button("Preview").click();
      await page.getByText(/^This is a preview of 320 x 200/).waitFor();
      assert.equal((await state()).documents.length, 0);
      await page.getByLabel("Mark ghosts").check();
      await button("Merge").click();
      await merged();
      const { documents, held, requests } = await state();
      assert.equal(documents.length, 1);
      const [{ options, closed, rows, finite }] = documents;
      assert.deepEqual(
        [options.width, options.height, options.depth, options.profile],
        [WIDTH, HEIGHT, 32, "Display P3"],
      );
      assert.ok(!closed && finite);
      // As bright as the reference, and the truth: x = 10 of the scene, two stops up.
      for (const [y, value] of rows.entries()) {
        const truth = 2 ** ((6 * 10) / WIDTH - 7) * (1 + 0.2 * Math.sin(10 * 0.11) * Math.cos(y * 0.07)) * 4;
        assert.ok(Math.abs(value - truth) < 0.08 * truth, `row ${y}: ${value} instead of ${truth}`);
      }
      assert.equal(held, 0, "image data was not disposed of");
      assert.ok(!requests.some((request) => request.includes("merge (modal)")), "the merge ran inside the modal state");
    });
  }

  it("reads large layers in strips, within the memory that UXP grants, and writes them whole", LONG, async () => {
    const [width, height] = [1500, 800];
    const bounds = { left: 0, top: 0, right: width, bottom: height };
    const layers = bracket.map((one) => ({ ...one, bounds, alpha: true }));
    await open([document_(layers, { width, height, bits: 32 })], { memoryLimit: 20e6 });
    await connected();
    await page.getByLabel("Camera").selectOption("none");
    await button("Merge").click({ timeout: 60_000 });
    await page.getByText(/^The merged image is the new document/).waitFor({ timeout: 90_000 });
    const { documents, held, heldAtMost, largestStrip, requests } = await state();
    assert.equal(held, 0);
    assert.ok(largestStrip <= 16 << 20 && heldAtMost <= 18 << 20, `${largestStrip} ${heldAtMost}`);
    assert.ok(
      documents[0].rows.every((value) => value > 0),
      "a strip discarded those before it",
    );
    assert.ok(requests.filter((request) => request.startsWith("PUT")).length >= 6);
  });

  it("merges what all layers cover, where they were moved", LONG, async () => {
    const layers = [
      layer(1, "-2EV", 0, { bounds: { left: 10, top: 4, right: 330, bottom: 204 } }),
      layer(2, "0EV", 2),
      layer(3, "+2EV", 4, { bounds: { left: -6, top: -8, right: 300, bottom: 190 } }),
    ];
    await open([document_(layers)]);
    await connected();
    await page.getByLabel("Camera").selectOption("none");
    await button("Merge").click();
    await merged();
    const [{ options, rows }] = (await state()).documents;
    assert.deepEqual([options.width, options.height], [290, 186]);
    const truth = (y: number) =>
      2 ** ((6 * 20) / WIDTH - 7) * (1 + 0.2 * Math.sin(20 * 0.11) * Math.cos((y + 4) * 0.07)) * 4;
    for (const [y, value] of rows.entries()) assert.ok(Math.abs(value - truth(y)) < 0.05 * truth(y), `row ${y}`);
  });

  it("opens an OpenEXR file instead where that is chosen", LONG, async () => {
    await open([document_(bracket, { mode: "CMYKColorMode", bits: 8, profile: "Coated FOGRA39" })]);
    await connected();
    await page.getByLabel("Result").selectOption("exr");
    await button("Merge").click();
    await page.getByText(/\.exr is open\. It is a temporary file/).waitFor();
    const { opened, documents } = await state();
    assert.equal(documents.length, 0);
    assert.deepEqual(opened[0].head, [0x76, 0x2f, 0x31, 0x01]);
  });

  it("lists groups, masks and oddities for what they are", LONG, async () => {
    const layers = [
      layer(1, "curves", 0, { kind: "curves" }),
      layer(2, "empty", 0, { bounds: { left: 0, top: 0, right: 0, bottom: 0 } }),
      { id: 3, name: "shots", bounds: full, layers: [layer(4, "a", 0), layer(5, "b", 2, { kind: "smartObject" })] },
      layer(6, "hidden", 4, { visible: false }),
    ];
    await open([document_(layers)]);
    await connected();
    assert.ok(await tick("curves").isDisabled());
    await page
      .getByText("Only pixel layers", { exact: false })
      .or(page.getByText(/only pixel layers/))
      .first()
      .waitFor();
    await page.getByText("This layer is empty").waitFor();
    assert.ok(await tick("shots / a").isChecked());
    assert.ok(await tick("shots / b").isChecked());
    assert.equal(await tick("hidden").isChecked(), false);
    await tick("hidden").check();
    await button("Find exposure values").click();
    await page.getByText("estimated", { exact: true }).nth(2).waitFor();
  });

  it(
    "says of which ticked layers a mask, the opacity or the blend mode is left out, and merges them",
    LONG,
    async () => {
      const [dark, middle, bright] = bracket;
      const layers = [
        { ...dark, userMask: "on" as const },
        { ...middle, opacity: 60, blendMode: "screen", vectorMask: "on" as const },
        { ...bright, userMask: "off" as const },
        layer(4, "+4EV", 6, { fillOpacity: 50, visible: false }),
      ];
      const notes = () => page.getByLabel("Notes").locator("li").allTextContents();
      const masked =
        "Of -2EV its own pixels are merged, without its mask. If you do not want that, apply the mask first.";
      const below = "If you do not want that, merge it with the layers below it first.";
      const blended = `Of 0EV its own pixels are merged, without its mask, opacity, blend mode. ${below}`;
      await open([document_(layers)]);
      await connected();
      await page.getByText(masked).waitFor();
      assert.deepEqual(await notes(), [masked, blended]);
      await tick("-2EV").uncheck();
      await tick("+4EV").check();
      await page.getByText(`Of +4EV its own pixels are merged, without its opacity. ${below}`).waitFor();
      assert.equal(await page.getByText(masked).count(), 0, "a layer that is not ticked is not merged");
      await button("Merge").click();
      await merged();
      assert.equal((await state()).documents.length, 1);
      await page.getByText(blended).waitFor();

      // Photoshop's answer changes with the document, and may fail to come.
      await page.evaluate((ordinary) => {
        window.fake.documents = [{ ...window.fake.documents[0], layers: ordinary }];
        window.fake.notify();
      }, bracket);
      await page.getByText(blended).waitFor({ state: "detached" });
      assert.ok(!(await notes()).some((note) => note.includes("own pixels")));
      await page.evaluate((again) => {
        window.fake.refuseDescriptors = true;
        window.fake.documents = [{ ...window.fake.documents[0], layers: again }];
        window.fake.notify();
      }, layers);
      await tick("+4EV").waitFor();
      await page.getByText(`Of 0EV its own pixels are merged, without its opacity, blend mode. ${below}`).waitFor();
      assert.equal(await page.getByText(masked).count(), 0);
    },
  );

  it("takes 20 layers with two of one exposure: those whose names tell are ticked", LONG, async () => {
    const many = Array.from({ length: 20 }, (_, i) => layer(i + 1, `layer ${i}`, i % 5));
    await open([document_(many)]);
    await connected();
    assert.equal(await page.getByRole("checkbox", { checked: true }).count(), 0);
    for (let i = 0; i < 17; i++) await page.getByRole("checkbox").nth(i).check();
    await button("Preview").click();
    await page.getByText("Tick at most 16 layers; these are 17.").waitFor();
    await page.evaluate(
      (layers) => {
        window.fake.documents = [{ ...window.fake.documents[0], layers }];
        window.fake.notify();
      },
      [...bracket, layer(4, "0 EV again", 2), ...many.slice(4)],
    );
    await tick("0 EV again").waitFor();
    assert.ok(await tick("0 EV again").isChecked());
    assert.equal(await tick("layer 9").isChecked(), true, "what a person ticked stays ticked");
  });

  it("refuses holes, layers without overlap and colour modes that cannot be read, naming them", LONG, async () => {
    await open([document_([bracket[0], { ...bracket[1], hole: [100, 100] }, bracket[2]])]);
    await connected();
    await button("Merge").click();
    await page.getByText(/The layer 0EV has transparent pixels where the layers overlap. Crop the document/).waitFor();
    await page.close();
    const away = { left: 318, top: 0, right: 600, bottom: 200 };
    await open([document_([bracket[0], { ...bracket[1], bounds: away }])]);
    await connected();
    await button("Merge").click();
    await page.getByText(/The ticked layers hardly overlap/).waitFor();
    await page.close();
    await open([document_(bracket, { mode: "indexedColorMode" })]);
    await connected();
    await page
      .getByText(/This colour mode cannot be read: choose Image > Mode > RGB Color/)
      .first()
      .waitFor();
    assert.deepEqual((await state()).documents, []);
    await page.close();
    await open([]);
    await connected();
    await page.getByText(/Open a document whose layers are photographs of one scene/).waitFor();
  });

  it("leaves no half-written document when it is cancelled, in Photoshop or in the panel", LONG, async () => {
    await open([document_(bracket)]);
    await connected();
    await page.evaluate(() => {
      window.fake.cancelModalAt = 0;
    });
    const height = 1900; // more than one strip of the result
    await page.evaluate((tall) => {
      const [document] = window.fake.documents;
      const layers = document.layers.map((one) => ({ ...one, bounds: { left: 0, top: 0, right: 800, bottom: tall } }));
      window.fake.documents = [{ ...document, width: 800, height: tall, layers }];
    }, height);
    await page.getByLabel("Camera").selectOption("none");
    await button("Merge").click();
    await page.getByText("Cancelled. Nothing was changed.").waitFor();
    const { documents, held } = await state();
    assert.equal(documents.length, 1);
    assert.ok(documents[0].closed, "the new document stayed open");
    assert.equal(held, 0);
  });

  it("cancels while it reads and while it merges", LONG, async () => {
    await open([large]);
    await connected();
    await page.getByLabel("Method").selectOption("network");
    await page.getByLabel("Model").selectOption("smhdr");
    await button("Merge").click();
    await page.getByText(/^Merging/).waitFor();
    await button("Cancel").click();
    await page.getByText("Cancelled. Nothing was changed.").waitFor();
    assert.deepEqual((await state()).documents, []);
  });

  it("says so when the document is closed, Photoshop is busy, or the service goes away", LONG, async () => {
    await open([document_(bracket)]);
    await connected();
    await page.evaluate(() => {
      window.fake.documents = [];
    });
    await button("Merge").click();
    await page.getByText("A ticked layer is not there any more: read the layers again.").waitFor();
    await page.close();

    await open([large]);
    await connected();
    await page.evaluate(() => {
      window.fake.refuseModal = true;
    });
    await button("Merge").click();
    await page.getByText("Photoshop is busy: finish its dialog or tool, then try again.").waitFor();
    assert.deepEqual((await state()).documents, []);
    await page.evaluate(() => {
      window.fake.refuseModal = false;
    });
    await button("New 32-bit document").click(); // without merging again
    await merged();

    await page.getByLabel("Method").selectOption("network");
    await page.getByLabel("Model").selectOption("smhdr");
    await button("Merge").click();
    await page.getByText(/^Merging/).waitFor();
    await service.close();
    await page.getByText("Start it in a terminal with: smhdr serve").waitFor();
    await page.evaluate(([path]) => delete window.fake.files[path], [START_FILE]);
    await button("Try again").click();
    await page.getByText("Start it in a terminal with: smhdr serve").waitFor();
    // Started again, found by hand.
    service = await startReal();
    await page.getByLabel("If it runs: the address that it printed").fill("nonsense");
    await page.keyboard.press("Tab");
    await page.getByText("Expected the whole address that smhdr serve printed").waitFor();
    await page
      .getByLabel("If it runs: the address that it printed")
      .fill(`http://127.0.0.1:${service.port}/#token=${service.token}`);
    await page.keyboard.press("Tab");
    await connected();
  });

  it("tells of a port that Photoshop may not reach", LONG, async () => {
    await open([document_(bracket)], { files: { [START_FILE]: JSON.stringify({ port: 4000, token: "x" }) } });
    await page.getByText(/listens on port 4000, where Photoshop may not reach it. Start it without --port/).waitFor();
  });
});
