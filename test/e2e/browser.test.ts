import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import sharp from "sharp";
import { decodeOpenExr } from "../../src/codec/openexr.js";
import type { JobReport } from "../../src/serve/job.js";
import { photograph } from "../cli/photographs.js";
import { TestService } from "../serve/client.js";
import { launch, noChromium } from "./chromium.js";
import { checkBuilt } from "./fresh.js";

const example = [1, 2, 3].map((i) =>
  fileURLToPath(new URL(`../../examples/bracket/exposure-${i}.jpg`, import.meta.url)),
);
const LONG = { timeout: 120_000 };

describe("the panel in a browser", { skip: noChromium }, () => {
  let browser: Browser;
  let service: TestService;
  let folder: string;
  let page: Page;
  before(async () => {
    checkBuilt("panel");
    browser = await launch();
    service = await TestService.start();
    folder = await mkdtemp(join(tmpdir(), "smhdr-test-"));
  });
  after(async () => {
    await browser?.close();
    await service?.close();
    if (folder) await rm(folder, { recursive: true, force: true });
  });

  /** A new page with the panel, connected. Whatever the page complains about fails the test. */
  const open = async (options: Parameters<Browser["newPage"]>[0] = {}, at = service): Promise<void> => {
    await page?.close();
    page = await browser.newPage({ viewport: { width: 1200, height: 900 }, ...options });
    page.setDefaultTimeout(20_000);
    page.on("pageerror", (error) => assert.fail(error.message));
    await page.goto(`${at.origin}/#token=${at.service.token}`);
    await page.getByText("connected", { exact: true }).waitFor();
  };
  const choose = (files: readonly string[]) => page.setInputFiles("input[type=file]", [...files]);
  const button = (name: string) => page.getByRole("button", { name, exact: true });
  const evs = () =>
    page.locator("input.ev").evaluateAll((inputs) => inputs.map((input) => (input as HTMLInputElement).value));
  /** The mean of the picture that is shown, 0 to 255, once it is another than `unlike`. */
  const shown = async (unlike?: string): Promise<{ src: string; mean: number }> => {
    const image = page.locator("img.picture");
    await page.waitForFunction((old) => {
      const img = document.querySelector<HTMLImageElement>("img.picture");
      return img?.src && img.src !== old && img.complete && img.naturalWidth > 0;
    }, unlike ?? "");
    return image.evaluate((img: HTMLImageElement) => {
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 64;
      const context = canvas.getContext("2d") as CanvasRenderingContext2D;
      context.drawImage(img, 0, 0, 64, 64);
      const { data } = context.getImageData(0, 0, 64, 64);
      let sum = 0;
      for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
      return { src: img.src, mean: sum / (64 * 64 * 3) };
    });
  };

  it("takes dropped photographs, previews, merges, shows and gives the result", LONG, async () => {
    await open();
    assert.equal(new URL(page.url()).hash, "", "the token stays in the address bar");
    assert.ok(await button("Merge").isDisabled());
    // Dropped, as a person does.
    const contents = await Promise.all(example.map(async (path) => (await readFile(path)).toString("base64")));
    await page.evaluate((files) => {
      const transfer = new DataTransfer();
      for (const [i, text] of files.entries()) {
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        transfer.items.add(new File([bytes], `exposure-${i + 1}.jpg`, { type: "image/jpeg" }));
      }
      for (const type of ["dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
      }
    }, contents);
    await page.getByText("from EXIF").nth(2).waitFor();
    assert.deepEqual(await evs(), ["0", "+3", "+6"]);
    await page.waitForFunction(() =>
      [...document.querySelectorAll<HTMLImageElement>("img.thumbnail")].every((i) => i.naturalWidth > 0),
    );

    await button("Preview").click();
    await page.getByText("This is a preview of 1024 x 683 pixels.").waitFor();
    assert.ok(await button("JPEG").isDisabled());
    assert.ok(await page.getByLabel("exposure-2.jpg is the reference").isChecked());
    const plain = await shown();
    await page.getByLabel("Exposure in stops").fill("2");
    const bright = await shown(plain.src);
    assert.ok(bright.mean > plain.mean + 20, `${bright.mean} ${plain.mean}`);
    await page.getByLabel("Exposure in stops").fill("0");
    const again = await shown(bright.src);
    await page.getByLabel("Mark ghosts").check();
    const marked = await shown(again.src);
    assert.ok(Math.abs(marked.mean - plain.mean) > 0.1);
    await page.getByLabel("Before: the reference photograph").check();
    const reference = await shown(marked.src);
    assert.ok(Math.abs(reference.mean - plain.mean) < 12);
    await page.getByLabel("Before: the reference photograph").uncheck();

    await page.getByLabel("exposure-1.jpg is the reference").check();
    await button("Merge").click();
    await page.getByText(/^Merged 1152 x 768 pixels in/).waitFor();
    await page.getByText(/reference exposure-1.jpg/).waitFor();
    for (const [name, file, check] of [
      [
        "Download OpenEXR",
        "merged.exr",
        async (bytes: Buffer) => {
          const { width, height } = await decodeOpenExr(bytes);
          assert.deepEqual([width, height], [1152, 768]);
        },
      ],
      ["JPEG", "merged.jpg", async (bytes: Buffer) => assert.equal((await sharp(bytes).metadata()).width, 1152)],
    ] as const) {
      const [download] = await Promise.all([page.waitForEvent("download"), button(name).click()]);
      assert.equal(download.suggestedFilename(), file);
      await check(await readFile(await download.path()));
    }
  });

  it("works with the keyboard alone; Escape cancels, and then it merges", LONG, async () => {
    await open();
    await choose(example);
    await page.getByText("from EXIF").nth(2).waitFor();
    const reached = new Set<string>();
    await page.locator("body").focus();
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press("Tab");
      reached.add(
        await page.evaluate(() => {
          const active = document.activeElement as HTMLElement;
          return active.getAttribute("aria-label") ?? active.textContent ?? "";
        }),
      );
    }
    for (const name of [
      "Choose photographs...",
      "Exposure value of exposure-2.jpg in stops",
      "Remove exposure-3.jpg",
      "Preview",
      "Merge",
    ]) {
      assert.ok(reached.has(name), `${name} among ${[...reached].join(", ")}`);
    }
    await page.getByLabel("Method").selectOption("network");
    await page.getByLabel("Model").selectOption("smhdr"); // seconds: time to stop it
    await page.keyboard.press("Control+Enter");
    await page.getByText(/^Merging \d/).waitFor();
    await page.getByLabel("Method").focus();
    await button("Cancel").focus();
    await page.keyboard.press("Escape");
    await page.getByText("Cancelled. Nothing was changed.").waitFor();
    assert.equal(await page.locator("section.result").isVisible(), false);
    await page.getByLabel("Method").selectOption("radiance");
    await page.keyboard.press("Control+Enter");
    await page.getByText(/^Merged 1152 x 768/).waitFor();
  });

  it("finds exposure values that no metadata tells, and takes those of the person", LONG, async () => {
    await open();
    const files = await photograph(join(folder, "plain"), "png", { stops: [0, 2, 4], exif: false });
    await choose(files);
    await page.getByText("96 x 64, 8 bits").nth(2).waitFor();
    assert.deepEqual(await evs(), ["", "", ""]);
    await button("Find exposure values").click();
    await page.getByText("estimated", { exact: true }).nth(2).waitFor();
    const found = (await evs()).map(Number);
    assert.ok(Math.abs(found[1] - 2) < 0.4 && Math.abs(found[2] - 4) < 0.7, `${found}`);
    const value = page.getByLabel("Exposure value of 1.png in stops");
    await value.fill("2");
    await page.getByLabel("Exposure value of 2.png in stops").fill("");
    await button("Merge").click();
    await page.getByText("Enter an exposure value for 2.png too, or clear all of them.").waitFor();
    await page.getByLabel("Exposure value of 2.png in stops").fill("4");
    await page.getByLabel("Exposure value of 0.png in stops").fill("0");
    await button("Merge").click();
    await page.getByText(/^Merged 96 x 64/).waitFor();
    assert.deepEqual(await evs(), ["0", "+2", "+4"]);
    // Without one of them.
    await page.getByRole("checkbox", { name: /0\.png/ }).uncheck();
    await button("Merge").click();
    // The page still says what the merge before gave: the service knows when this one is done.
    let ev: readonly (number | null)[] | undefined;
    for (const end = Date.now() + 30_000; ev?.[0] !== null && Date.now() < end; await delay(50)) {
      const { jobs } = (await (await service.fetch("/v1/jobs")).json()) as { jobs: JobReport[] };
      ev = jobs.find(({ exposures }) => exposures[0].name === "0.png")?.result?.ev;
    }
    assert.deepEqual(ev, [null, 0, 2]);
  });

  it("says what is wrong with photographs, and goes on with the rest", LONG, async () => {
    await open();
    const good = await photograph(join(folder, "good"), "jpg", { stops: [0, 2] });
    const note = join(folder, "note.txt");
    await writeFile(note, "not a picture");
    const wide = join(folder, "wide.png");
    await sharp({ create: { width: 120, height: 64, channels: 3, background: "#777" } })
      .png()
      .toFile(wide);
    await choose([...good, note]);
    await page.getByText(/note.txt is not an image/).waitFor();
    assert.ok(await page.getByRole("checkbox", { name: /note.txt/ }).isDisabled());
    await button("Merge").click();
    await page.getByText(/^Merged 96 x 64/).waitFor();
    await choose([wide]);
    await page.getByText("120 x 64, 8 bits").waitFor();
    await button("Merge").click();
    await page.getByText(/must have one size: 0.jpg is 96 x 64, wide.png is 120 x 64/).waitFor();
    await button("Remove wide.png").click();
    await button("Merge").click();
    await page.getByText(/^Merged 96 x 64/).waitFor();
    await choose(
      await Promise.all(
        Array.from({ length: 16 }, async (_, i) => {
          const path = join(folder, `many-${i}.jpg`);
          await writeFile(path, await readFile(good[0]));
          return path;
        }),
      ),
    );
    await page.getByText("At most 16 files can be open; these are 19. Remove some.").waitFor();
  });

  it("says how to start a service that was stopped in the middle", LONG, async () => {
    const short = await TestService.start();
    await open({}, short);
    await choose(example);
    await page.getByText("from EXIF").nth(2).waitFor();
    await page.getByLabel("Method").selectOption("network");
    await button("Merge").click();
    await page.getByText(/^Merging \d/).waitFor();
    await short.close();
    await page.getByText(/Start it in a terminal with: smhdr serve/).waitFor();
    assert.ok(await button("Merge").isDisabled());
  });

  it("says so when the token is of another start, or missing", LONG, async () => {
    await page?.close();
    page = await browser.newPage();
    await page.goto(`${service.origin}/`);
    await page.getByText("This page needs the whole address that smhdr serve printed").waitFor();
    await page.goto(`${service.origin}/#token=wrong`);
    await page.getByText(/started anew since.*open the address that smhdr serve printed/).waitFor();
    await page.goto(`${service.origin}/#token=${service.service.token}`);
    await page.getByText("connected", { exact: true }).waitFor();
    await page.reload();
    await page.getByText("connected", { exact: true }).waitFor();
  });

  it("is out of reach for another page, even one that knows the token", LONG, async () => {
    const other = createServer((_request, response) =>
      response.end("<!doctype html><title>another page</title>"),
    ).listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    await page.close();
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(other.address() as AddressInfo).port}/`);
    const reached = await page.evaluate(
      async ({ origin, token }) => {
        const tries: [string, RequestInit][] = [
          ["/v1/status", { headers: { authorization: `Bearer ${token}` } }],
          ["/v1/jobs", { method: "POST", body: "{}", mode: "no-cors" }],
          ["/v1/status", {}],
        ];
        const outcomes = [];
        for (const [path, init] of tries) {
          outcomes.push(
            await fetch(origin + path, init).then(
              (r) => `${r.type} ${r.status}`,
              () => "blocked",
            ),
          );
        }
        return outcomes;
      },
      { origin: service.origin, token: service.service.token },
    );
    other.close();
    assert.deepEqual(reached, ["blocked", "blocked", "blocked"]);
    const { jobs } = (await (await service.fetch("/v1/jobs")).json()) as { jobs: JobReport[] };
    assert.ok(jobs.every(({ exposures }) => exposures.length > 0));
  });

  it("fits narrow windows, and follows light and dark", LONG, async () => {
    await open({ viewport: { width: 300, height: 700 }, colorScheme: "dark" });
    await choose(example);
    await page.getByText("from EXIF").nth(2).waitFor();
    await button("Preview").click();
    await page.getByText(/^This is a preview/).waitFor();
    await shown();
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 300);
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(await ground(), "rgb(21, 24, 31)");
    await page.emulateMedia({ colorScheme: "light" });
    assert.equal(await ground(), "rgb(244, 245, 247)");
  });

  it("leaves nothing behind when it is closed", LONG, async () => {
    await open();
    await choose(example);
    await page.getByText("from EXIF").nth(2).waitFor();
    const count = async () => ((await (await service.fetch("/v1/jobs")).json()) as { jobs: JobReport[] }).jobs.length;
    const before = await count();
    await page.close({ runBeforeUnload: false });
    for (let tries = 0; (await count()) >= before; tries++) {
      assert.ok(tries < 100, "the job is still there");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
});
