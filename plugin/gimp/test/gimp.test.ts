import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Reconstructor, readBracket } from "../../../src/index.js";
import { batch, type Gimp, installGimp, repository } from "./gimp-chroot.js";
import { type Service, startService } from "./service.js";

/** What in_gimp.py found. */
interface Outcome {
  readonly name: string;
  readonly error: string | null;
}

test("the plug-in in real GIMP 3, with the real service", { timeout: 900_000 }, async (t) => {
  const gimp = installGimp();
  if (typeof gimp === "string") return t.skip(gimp);
  t.after(() => gimp.remove());
  const service = await startService(gimp, t);
  const out = join(gimp.folder, "out.jsonl");
  const running = gimp.run(batch(`${gimp.inside}/in_gimp.py`), { SMHDR_TEST_OUT: `${gimp.inside}/out.jsonl` });
  let said = "";
  for (const stream of [running.stdout, running.stderr])
    stream?.setEncoding("utf8").on("data", (text) => (said += text));
  const ended = once(running, "close");
  let over = false;
  ended.then(() => (over = true));
  const jobsAfterKill = await interfere(gimp, service, () => over);
  const [code] = await ended;
  assert.equal(code, 0, said);
  const outcomes: Outcome[] = readFileSync(out, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.ok(outcomes.length >= 30, said);
  for (const { name, error } of outcomes) {
    await t.test(name, () => {
      if (error) throw new Error(error);
    });
  }
  await t.test("a plug-in that GIMP kills leaves no job behind", () => assert.equal(jobsAfterKill, 0));
  await t.test("the example comes out as the command makes it without a network", () => compareExample(gimp));
});

/** Does what the cases of in_gimp.py ask for in the file `phase`, and says how many jobs the killed plug-in left. */
async function interfere(gimp: Gimp, service: Service, over: () => boolean): Promise<number | undefined> {
  let left: number | undefined;
  for (; !over(); await sleep(20)) {
    const path = join(gimp.folder, "phase");
    if (!existsSync(path)) continue;
    const wanted = readFileSync(path, "utf8");
    if (!(await service.jobs()).some(({ state }) => state === "merging")) continue;
    rmSync(path);
    if (wanted === "kill the service") service.process.kill("SIGKILL");
    if (wanted === "kill the plug-in") {
      for (const pid of plugInProcesses(gimp)) process.kill(pid, "SIGKILL");
      for (let tries = 0; tries < 200 && left !== 0; tries++) {
        await sleep(100);
        left = (await service.jobs()).length;
      }
    }
  }
  return left;
}

/** GIMP's own Cancel button kills this process. */
function plugInProcesses(gimp: Gimp): number[] {
  const script = `${gimp.inside}/config/plug-ins/smhdr/smhdr.py`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const args = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
        return args.includes(script) && args.includes("-run");
      } catch {
        return false; // it has ended meanwhile
      }
    })
    .map(Number);
}

/** GIMP decodes JPEG with another library than we do: values differ by a code here and there, no more. */
async function compareExample(gimp: Gimp): Promise<void> {
  const files = [1, 2, 3].map((number) => join(repository, "examples", "bracket", `exposure-${number}.jpg`));
  const bracket = await readBracket(files);
  const radiance = await (await Reconstructor.load({ method: "radiance" })).run(bracket);
  const gain = 2 ** bracket.exposures[bracket.reference].exposureValue;
  bracket.close();
  const bytes = readFileSync(join(gimp.folder, "example.rows"));
  const rows = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  assert.equal(rows.length, radiance.data.length);
  const apart = Float64Array.from(rows, (value, i) => {
    const expected = radiance.data[i] * gain;
    return Math.abs(value - expected) / (expected + 0.01);
  }).sort();
  const [median, most] = [0.5, 0.99].map((part) => apart[Math.floor(part * apart.length)]);
  assert.ok(median < 0.01 && most < 0.1, `relative difference: median ${median}, 99 % below ${most}`);
}
