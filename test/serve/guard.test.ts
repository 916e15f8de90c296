import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { checkHost, checkOrigin } from "../../src/serve/guard.js";
import { startService } from "../../src/serve/service.js";
import { startFilePath } from "../../src/serve/start-file.js";
import { TestService } from "./client.js";

describe("who may ask the service", () => {
  let service: TestService;
  const page = "http://localhost:3000";
  before(async () => {
    service = await TestService.start({ allowedOrigins: [page] });
  });
  after(() => service.close());

  const ask = async (headers: Record<string, string>, method = "GET") => {
    const host = `127.0.0.1:${service.service.port}`;
    const authorization = `Bearer ${service.service.token}`;
    return (await service.raw("/v1/status", { host, authorization, ...headers }, method)).status;
  };

  it("answers whoever has the token, and only them", async () => {
    assert.equal(await ask({}), 200);
    const { token } = service.service;
    const last = token.endsWith("A") ? "B" : "A";
    const wrong = ["", "Bearer", "Bearer ", `Bearer ${token.slice(0, -1)}`, `Bearer ${token}A`, `Basic ${token}`];
    for (const authorization of [...wrong, `Bearer ${token.slice(0, -1)}${last}`]) {
      assert.equal(await ask({ authorization }), 401, authorization);
    }
    const { status, body } = await service.raw("/v1/jobs", { host: `127.0.0.1:${service.service.port}` });
    assert.equal(status, 401);
    assert.match(JSON.parse(body).error.message, /token/);
  });

  it("refuses a name that leads here (DNS rebinding)", async () => {
    const { port } = service.service;
    assert.equal(await ask({ host: `localhost:${port}` }), 200);
    for (const host of [
      "evil.example",
      `evil.example:${port}`,
      "127.0.0.1",
      `127.0.0.1:${port + 1}`,
      `127.0.0.1.evil.example:${port}`,
    ]) {
      assert.equal(await ask({ host }), 403, host);
    }
  });

  it("knows its own name without the port that http means", () => {
    const guard = { port: 80, token: "", allowedOrigins: [] };
    for (const host of ["127.0.0.1", "localhost", "localhost:80"]) {
      checkHost(guard, { host });
      checkOrigin(guard, { origin: `http://${host}` });
    }
    for (const host of [undefined, "evil.example", "localhost:80:80", "localhost:81"])
      assert.throws(() => checkHost(guard, { host }), { code: "FORBIDDEN" });
    assert.throws(() => checkHost({ ...guard, port: 81 }, { host: "localhost" }), { code: "FORBIDDEN" });
  });

  it("refuses pages of other origins, with the token too", async () => {
    const { origin } = service;
    assert.equal(await ask({ origin }), 200);
    assert.equal(await ask({ origin: page }), 200);
    for (const other of [
      "https://evil.example",
      "null",
      `${origin}0`,
      "http://127.0.0.1",
      `https://127.0.0.1:${service.service.port}`,
    ]) {
      assert.equal(await ask({ origin: other }), 403, other);
      assert.equal(await ask({ origin: other }, "OPTIONS"), 403, other);
    }
    assert.equal(await ask({ "sec-fetch-site": "cross-site" }), 403);
    assert.equal(await ask({ "sec-fetch-site": "same-site" }), 403);
    assert.equal(await ask({ "sec-fetch-site": "same-origin" }), 200);
  });

  it("answers the preflight of an allowed page, and lets it read", async () => {
    const preflight = await fetch(`${service.origin}/v1/jobs`, { method: "OPTIONS", headers: { origin: page } });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers.get("access-control-allow-origin"), page);
    assert.match(preflight.headers.get("access-control-allow-headers") ?? "", /authorization/);
    const answer = await service.fetch("/v1/status", { headers: { origin: page } });
    assert.equal(answer.headers.get("access-control-allow-origin"), page);
    assert.equal((await service.fetch("/v1/status")).headers.get("access-control-allow-origin"), null);
  });

  it("says what it does not have, and hides what failed inside", async () => {
    const missing = await service.fetch("/v1/nothing?x=1");
    assert.equal(missing.status, 404);
    assert.deepEqual(await missing.json(), {
      error: { code: "NOT_FOUND", message: "There is no GET /v1/nothing here." },
    });
  });
});

describe("the start file", () => {
  it("lies where docs/service.md says", () => {
    assert.equal(startFilePath({}, "linux", "/home/a"), "/home/a/.local/state/smhdr/service.json");
    assert.equal(startFilePath({ XDG_STATE_HOME: "/s" }, "linux", "/home/a"), "/s/smhdr/service.json");
    assert.equal(startFilePath({}, "darwin", "/Users/a"), "/Users/a/Library/Application Support/smhdr/service.json");
    assert.equal(startFilePath({ LOCALAPPDATA: "/L" }, "win32", "/h"), "/L/smhdr/service.json");
    assert.equal(startFilePath({ SMHDR_SERVICE_FILE: "/x.json" }, "win32", "/h"), "/x.json");
  });

  it("is for its user only, tells how to reach the service, and goes with it", async () => {
    const service = await TestService.start();
    const { startFile, port, token } = service.service;
    assert.equal((await stat(startFile)).mode & 0o777, 0o600);
    assert.equal((await stat(dirname(startFile))).mode & 0o777, 0o700);
    assert.deepEqual(JSON.parse(await readFile(startFile, "utf8")), {
      port,
      token,
      pid: process.pid,
      version: "0.0.0",
    });
    assert.ok(token.length >= 43);
    await service.close();
    await assert.rejects(stat(startFile), { code: "ENOENT" });
  });

  it("keeps a second service from starting, but only while the first one answers", async () => {
    const first = await TestService.start();
    const { startFile } = first.service;
    await assert.rejects(startService({ version: "0", port: 0, startFile }), {
      code: "IO",
      message: new RegExp(`runs already, as process ${process.pid} on port ${first.service.port}`),
    });
    await stat(startFile);
    await first.close();

    const folder = await mkdtemp(join(tmpdir(), "smhdr-test-"));
    const stale = join(folder, "service.json");
    for (const content of ["", "{", JSON.stringify({ port: 1, token: "x" }), JSON.stringify({ port: "a" })]) {
      await writeFile(stale, content);
      const next = await startService({ version: "0", port: 0, startFile: stale });
      await next.close();
    }
    await rm(folder, { recursive: true });
  });

  it("leaves the file of another service alone", async () => {
    const service = await TestService.start();
    const { startFile } = service.service;
    const other = JSON.stringify({ port: 1, token: "of another", pid: 1, version: "1" });
    await writeFile(startFile, other);
    await service.service.close();
    assert.equal(await readFile(startFile, "utf8"), other);
    await rm(dirname(dirname(startFile)), { recursive: true });
  });

  it("is refused where it cannot be written, and nothing keeps listening", async () => {
    const folder = await mkdtemp(join(tmpdir(), "smhdr-test-"));
    const startFile = join(folder, "file", "service.json");
    await writeFile(join(folder, "file"), "");
    await assert.rejects(startService({ version: "0", port: 0, startFile }), { code: "IO", message: /start file/ });
    await mkdir(join(folder, "ok"));
    await rm(folder, { recursive: true });
  });
});

describe("the port", () => {
  it("says so when it is taken", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const { port } = taken.address() as AddressInfo;
    await assert.rejects(TestService.start({ port }), { code: "IO", message: new RegExp(`Port ${port} is taken`) });
    taken.close();
  });
});
