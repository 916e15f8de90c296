import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { picture } from "../serve/brackets.js";
import { jsonLines, type Running, smhdr, start } from "./process.js";

describe("smhdr serve", () => {
  let folder: string;
  let env: Record<string, string>;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "smhdr-test-"));
    env = { SMHDR_SERVICE_FILE: join(folder, "service.json") };
  });
  after(() => rm(folder, { recursive: true, force: true }));

  /** Starts the service and waits for the address that it prints. */
  const serve = async (...args: string[]): Promise<{ running: Running; origin: string; token: string }> => {
    const running = start(["serve", "--port", "0", "--json", ...args], { env });
    const [line] = (await once(running.process.stdout ?? assert.fail(), "data")) as [string];
    const { address, startFile } = JSON.parse(line) as { address: string; startFile: string };
    assert.equal(startFile, env.SMHDR_SERVICE_FILE);
    const [origin, token] = address.split("/#token=");
    assert.equal(JSON.parse(await readFile(startFile, "utf8")).pid, running.process.pid);
    return { running, origin, token };
  };
  const gone = () => assert.rejects(stat(env.SMHDR_SERVICE_FILE), { code: "ENOENT" });

  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    it(`ends cleanly at ${signal}, in the middle of a merge too`, async () => {
      const { running, origin, token } = await serve();
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      const body = JSON.stringify({
        width: 320,
        height: 320,
        format: "uint16",
        exposures: [{}, {}, {}],
        ev: [0, 2, 4],
      });
      const job = (await (await fetch(`${origin}/v1/jobs`, { method: "POST", headers, body })).json()) as {
        id: string;
      };
      for (const [i, stops] of [0, 2, 4].entries()) {
        const data = new Uint8Array(picture(320, 320, stops).buffer);
        await fetch(`${origin}/v1/jobs/${job.id}/exposures/${i}`, { method: "PUT", headers, body: data });
      }
      const settings = JSON.stringify({ method: "network", precision: "fp32" });
      await fetch(`${origin}/v1/jobs/${job.id}/merge`, { method: "POST", headers, body: settings });
      const events = fetch(`${origin}/v1/jobs/${job.id}/events`, { headers }).then((response) => response.text());
      running.process.kill(signal);
      const { code, stderr } = await running.finished;
      assert.equal(code, 0, stderr);
      assert.match(await events.catch(() => "event: cancelled"), /event: cancelled/);
      await gone();
    });
  }

  it("refuses to start twice, and starts again after it was killed", async () => {
    const { running, origin } = await serve();
    const second = await start(["serve", "--port", "0", "--json"], { env }).finished;
    assert.equal(second.code, 1);
    assert.deepEqual(jsonLines(second.stdout)[0].code, "IO");
    assert.match(second.stderr, /runs already, as process \d+ on port \d+/);
    const port = new URL(origin).port;
    const other = { SMHDR_SERVICE_FILE: join(folder, "other.json") };
    const taken = await start(["serve", "--port", port], { env: other }).finished;
    assert.match(taken.stderr, new RegExp(`Port ${port} is taken by another program: choose one with --port`));
    assert.equal(taken.code, 1);

    running.process.kill("SIGKILL");
    await running.finished;
    await stat(env.SMHDR_SERVICE_FILE);
    const again = await serve();
    again.running.process.kill("SIGTERM");
    await again.running.finished;
    await gone();
  });

  it("takes origins as people write them", async () => {
    const { running, origin, token } = await serve(
      "--allow-origin",
      "HTTP://LocalHost:80",
      "--allow-origin",
      "uxp://panel",
    );
    for (const [page, status] of [
      ["http://localhost", 200],
      ["uxp://panel", 200],
      ["null", 403],
    ] as const) {
      const headers = { authorization: `Bearer ${token}`, origin: page };
      assert.equal((await fetch(`${origin}/v1/status`, { headers })).status, status, page);
    }
    running.process.kill("SIGTERM");
    await running.finished;
  });

  it("does not start with a model that is none", async () => {
    const { code, stdout, stderr } = await start(["serve", "--port", "0", "--model", "nosuch"], { env }).finished;
    assert.equal(code, 2);
    assert.equal(stdout, "");
    assert.match(stderr, /^smhdr: --model: expected .*; got "nosuch"\.\n$/);
    await gone();
  });

  it("refuses options that make no sense", async () => {
    for (const args of [
      ["--port", "70000"],
      ["--port", "x"],
      ["--expire", "0"],
      ["--memory", "1K"],
      ["--allow-origin", "foo"],
      ["--allow-origin", "http://"],
      ["--allow-origin", "http://localhost:3000/"],
      ["--allow-origin", "*"],
    ]) {
      assert.equal((await smhdr("serve", ...args)).code, 2, args.join(" "));
    }
  });
});
