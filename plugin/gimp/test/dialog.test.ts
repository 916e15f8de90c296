import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Gimp, installGimp, withWindows } from "./gimp-chroot.js";
import { startService } from "./service.js";

/** SMHDR_SCREENSHOTS=docs npx tsx --test plugin/gimp/test/dialog.test.ts makes the pictures of the documentation. */
const pictures = process.env.SMHDR_SCREENSHOTS;

test("the dialog in a GIMP with windows, by keyboard", { timeout: 600_000 }, async (t) => {
  const gimp = installGimp();
  if (typeof gimp === "string") return t.skip(gimp);
  const service = await startService(gimp, t);
  const screen = await openScreen(gimp, t);
  t.after(() => gimp.remove()); // the last thing: what runs writes there
  const merging = async () => (await service.jobs()).some(({ state }) => state === "merging");
  const outcome = (scene: string) => until(`the end of ${scene}`, () => findOutcome(gimp, scene));

  // Return merges the ticked layers into a new 32-bit image.
  {
    await until("the first dialog", () => phase(gimp) === "merge");
    await screen.dialog();
    await screen.picture("gimp-dialog.jpg");
    await screen.key("Return");
    const found = await outcome("merge");
    assert.deepEqual([found.status, found.images], ["success", 2]);
    assert.deepEqual([found.size, found.precision], [[1152, 768], "float-linear"]);
    assert.match(found.comment ?? "", /exposure-3.jpg: \+6, exposure-2.jpg: \+3, exposure-1.jpg: 0/);
    await sleep(3000); // GIMP draws its new window
    await screen.picture("gimp-result.jpg");
    await until("the next scene", () => phase(gimp) === "look");
    rmSync(join(gimp.folder, "phase"));
  }

  // Alt-E fills in what the pixels say; the merge is then told those values.
  {
    await until("the dialog without EXIF", () => phase(gimp) === "estimate");
    await screen.dialog();
    await screen.key("alt+e");
    await sleep(4000);
    await screen.picture("gimp-estimated.jpg", tmpdir());
    await screen.key("Return");
    const { status, comment } = await outcome("estimate");
    assert.equal(status, "success");
    assert.match(comment ?? "", /\(given\): photograph: \+[56]\.\d+, photograph #1: \+[23]\.\d+, photograph #2: 0/);
  }

  // Escape during a merge stops it and keeps the dialog; a second one closes it.
  {
    await until("the second dialog", () => phase(gimp) === "cancel");
    await screen.dialog();
    await screen.key("Return");
    await until("the merge", merging);
    await screen.key("Escape");
    await until("no job", async () => (await service.jobs()).length === 0);
    await screen.dialog();
    await screen.key("Escape");
    const found = await outcome("cancel");
    assert.deepEqual([found.status, found.images], ["cancel", 5]);
  }

  // A service that is killed leaves the dialog open, to try again.
  {
    await until("the third dialog", () => phase(gimp) === "killed");
    await screen.dialog();
    await screen.key("Return");
    await until("the merge", merging);
    service.process.kill("SIGKILL");
    await sleep(2000);
    await screen.picture("gimp-service-ended.jpg", tmpdir());
    await screen.dialog();
    await screen.key("Escape");
    const found = await outcome("killed");
    assert.deepEqual([found.status, found.images], ["cancel", 5]);
  }
});

interface Outcome {
  readonly name: string;
  readonly status: string;
  readonly images: number;
  readonly size: readonly number[] | null;
  readonly precision: string | null;
  readonly comment: string | null;
}

/** A screen with a window manager and GIMP on it, all of which end with the test. */
async function openScreen(gimp: Gimp, t: TestContext) {
  const number = 70 + (process.pid % 900);
  const environment = { DISPLAY: `:${number}`, GDK_BACKEND: "x11", NO_AT_BRIDGE: "1" };
  let said = "";
  const keep = (command: readonly string[], more = {}) => {
    const running = gimp.run(command, { ...environment, ...more });
    for (const stream of [running.stdout, running.stderr]) {
      stream?.setEncoding("utf8").on("data", (text) => (said += text));
    }
    t.after(() => running.kill("SIGKILL"));
  };
  const run = async (...command: string[]) => {
    const running = gimp.run(command, environment);
    let printed = "";
    running.stdout?.setEncoding("utf8").on("data", (text) => (printed += text));
    await once(running, "close");
    return printed.trim();
  };
  const find = async (title: string) =>
    (await run("xdotool", "search", "--onlyvisible", "--name", title)).split("\n")[0];
  t.after(() => {
    if (process.env.SMHDR_VERBOSE) console.log(said);
  });
  // As if this GIMP had been used before: it does not greet.
  writeFileSync(join(gimp.folder, "config", "gimprc"), '(config-version "3.0.4")\n(show-welcome-dialog no)\n');
  keep(["Xvfb", `:${number}`, "-screen", "0", "1280x700x24", "-nolisten", "tcp"]);
  await until("the screen", async () => (await run("xdotool", "getdisplaygeometry")) !== "");
  keep(["openbox"]);
  keep(withWindows(`${gimp.inside}/in_dialog.py`), { SMHDR_TEST_OUT: `${gimp.inside}/out.jsonl` });
  return {
    key: (name: string) => run("xdotool", "key", name),
    /** Waits for the dialog and gives it the keyboard. */
    async dialog() {
      const window = await until("the dialog", () => find("^Merge to HDR$"));
      await run("xdotool", "windowactivate", "--sync", window);
      await sleep(1000);
    },
    async picture(name: string, folder = pictures) {
      if (!pictures) return;
      await run(
        "import",
        "-window",
        "root",
        "-crop",
        "1156x683+0+0",
        "+repage",
        "-quality",
        "88",
        `${gimp.inside}/${name}`,
      );
      copyFileSync(join(gimp.folder, name), join(folder ?? "", name));
    },
  };
}

function phase(gimp: Gimp): string {
  const path = join(gimp.folder, "phase");
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

function findOutcome(gimp: Gimp, scene: string): Outcome | undefined {
  const path = join(gimp.folder, "out.jsonl");
  const lines = existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
  return lines.map((line) => JSON.parse(line)).find(({ name }) => name === scene);
}

async function until<T>(what: string, found: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (let tries = 0; tries < 450; tries++) {
    const value = await found();
    if (value) return value as NonNullable<T>;
    await sleep(200);
  }
  throw new Error(`waited 90 s for ${what}`);
}
