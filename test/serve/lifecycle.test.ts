import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile, stat } from "node:fs/promises";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Room } from "../../src/room.js";
import type { JobReport } from "../../src/serve/job.js";
import { picture } from "./brackets.js";
import { refusal, TestService } from "./client.js";

const SIDE = 320;
const shape = { width: SIDE, height: SIDE, format: "uint16", exposures: [{}, {}, {}], ev: [0, 2, 4], align: "none" };
const pictures = [0, 2, 4].map((stops) => picture(SIDE, SIDE, stops));

/** A job with all its pixels. */
async function uploaded(service: TestService): Promise<string> {
  const { id } = (await (await service.post("/v1/jobs", shape)).json()) as JobReport;
  for (const [i, data] of pictures.entries()) await service.put(`/v1/jobs/${id}/exposures/${i}`, data);
  return id;
}

/** Waits until the job's merge has begun to compute; it takes seconds from there. */
async function computing(service: TestService, id: string): Promise<void> {
  for (;;) {
    const { progress, state } = (await (await service.fetch(`/v1/jobs/${id}`)).json()) as JobReport;
    if (progress?.stage === "merging") return;
    assert.ok(state === "waiting" || state === "merging", state);
    await setTimeout(5);
  }
}

describe("a job's life", () => {
  let service: TestService;
  before(async () => {
    service = await TestService.start();
  });
  after(() => service.close());
  const slow = { method: "network", precision: "fp32" };

  it("takes nothing while it is merged, stops when told, and can be merged again", async () => {
    const id = await uploaded(service);
    await service.post(`/v1/jobs/${id}/merge`, slow);
    const events = service.events(id);
    await computing(service, id);
    assert.match(await refusal(service.post(`/v1/jobs/${id}/merge`)), /^409 CONFLICT The job is being merged/);
    assert.match(await refusal(service.put(`/v1/jobs/${id}/exposures/0`, pictures[0])), /^409 CONFLICT/);
    assert.match(
      await refusal(service.fetch(`/v1/jobs/${id}/result`)),
      /^409 CONFLICT There is no result yet: the job is merging/,
    );
    const cancelled = (await (await service.post(`/v1/jobs/${id}/cancel`)).json()) as JobReport;
    assert.equal(cancelled.state, "cancelled");
    assert.equal((await events).at(-1)?.event, "cancelled");
    await service.post(`/v1/jobs/${id}/merge`, { method: "radiance" });
    const again = await service.events(id);
    assert.equal(again.at(-1)?.event, "done");
    const fractions = again.filter(({ event }) => event === "progress").map(({ data }) => data);
    assert.ok(fractions.some(({ stage }) => stage === "merging"));
    await service.fetch(`/v1/jobs/${id}`, { method: "DELETE" });
  });

  it("waits for its turn, and stops at once while it waits", async () => {
    const [first, second] = [await uploaded(service), await uploaded(service)];
    await service.post(`/v1/jobs/${first}/merge`, slow);
    await computing(service, first);
    const waiting = (await (await service.post(`/v1/jobs/${second}/merge`)).json()) as JobReport;
    assert.equal(waiting.state, "waiting");
    const stopped = (await (await service.post(`/v1/jobs/${second}/cancel`)).json()) as JobReport;
    assert.equal(stopped.state, "cancelled");
    const busy = (await (await service.fetch(`/v1/jobs/${first}`)).json()) as JobReport;
    assert.equal(busy.state, "merging");
    // Deleted in the middle: who listens is told, the next one gets its turn.
    const events = service.events(first);
    await service.post(`/v1/jobs/${second}/merge`);
    assert.equal((await service.fetch(`/v1/jobs/${first}`, { method: "DELETE" })).status, 204);
    assert.equal((await events).at(-1)?.event, "cancelled");
    assert.equal((await service.events(second)).at(-1)?.event, "done");
    await service.fetch(`/v1/jobs/${second}`, { method: "DELETE" });
    assert.match(await refusal(service.post(`/v1/jobs/${first}/merge`)), /^404 NOT_FOUND/);
  });

  it("ends the stream of a job that is deleted before its merge", async () => {
    const id = await uploaded(service);
    const events = service.events(id);
    await setTimeout(50);
    await service.fetch(`/v1/jobs/${id}`, { method: "DELETE" });
    assert.deepEqual(
      (await events).map(({ event }) => event),
      ["cancelled"],
    );
  });

  it("survives a client that goes away in the middle of a strip: those rows are missing", async () => {
    const id = await uploaded(service);
    const { port, token } = service.service;
    const socket = connect(port, "127.0.0.1");
    const bytes = SIDE * 3 * 2 * 100;
    socket.write(
      `PUT /v1/jobs/${id}/exposures/1?row=50&rows=100 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\nContent-Length: ${bytes}\r\n\r\n`,
    );
    socket.write(Buffer.alloc(1000));
    let report: JobReport;
    do {
      await setTimeout(5);
      report = (await (await service.fetch(`/v1/jobs/${id}`)).json()) as JobReport;
    } while (report.exposures[1].complete);
    socket.destroy();
    await once(socket, "close");
    assert.match(
      await refusal(service.post(`/v1/jobs/${id}/merge`)),
      /^422 BAD_INPUT exposure 1 .* rows 50 to 149 have not/,
    );
    await service.put(`/v1/jobs/${id}/exposures/1`, pictures[1]);
    await service.post(`/v1/jobs/${id}/merge`);
    assert.equal((await service.events(id)).at(-1)?.event, "done");
    await service.fetch(`/v1/jobs/${id}`, { method: "DELETE" });
  });
});

describe("the service's limits", () => {
  it("hold for jobs and for the memory of all of them", async () => {
    const one = SIDE * SIDE * (3 * 3 * 2 + 12);
    const service = await TestService.start({ limits: { jobs: 3, memory: 2.5 * one } });
    const ids = [await uploaded(service), await uploaded(service)];
    const third = await service.post("/v1/jobs", shape);
    assert.equal(third.headers.get("retry-after"), "30");
    assert.match(await refusal(third), /^429 BUSY .* other jobs hold/);
    assert.match(await refusal(service.post("/v1/jobs", { ...shape, width: 3 * SIDE })), /^413 TOO_LARGE .*--memory/);
    await service.fetch(`/v1/jobs/${ids[0]}`, { method: "DELETE" });
    assert.equal((await service.post("/v1/jobs", { ...shape, width: 16, height: 16 })).status, 201);
    assert.equal((await service.post("/v1/jobs", { source: "files", exposures: [{}, {}] })).status, 201);
    assert.match(
      await refusal(service.post("/v1/jobs", { ...shape, width: 16, height: 16 })),
      /^429 BUSY There are 3 jobs/,
    );
    await service.close();
  });

  it("forget a job that nobody asks for, and only such", async () => {
    const service = await TestService.start({ limits: { expires: 0.4 } });
    const [forgotten, watched] = [await uploaded(service), await uploaded(service)];
    const abort = new AbortController();
    const stream = await service.fetch(`/v1/jobs/${watched}/events`, { signal: abort.signal });
    while ((await service.fetch("/v1/jobs")).ok) {
      const { jobs } = (await (await service.fetch("/v1/jobs")).json()) as { jobs: JobReport[] };
      assert.ok(jobs.some(({ id }) => id === watched));
      if (jobs.length === 1) break;
      await setTimeout(20);
    }
    assert.match(await refusal(service.fetch(`/v1/jobs/${forgotten}`)), /^404 NOT_FOUND .*forgotten/);
    abort.abort();
    await stream.body?.cancel().catch(() => {});
    await service.close();
  });
});

describe("the end of the service", () => {
  it("stops merges, ends streams and leaves no start file", async () => {
    const service = await TestService.start();
    const id = await uploaded(service);
    await service.post(`/v1/jobs/${id}/merge`, { method: "network", precision: "fp32" });
    const events = service.events(id);
    await computing(service, id);
    const { startFile } = service.service;
    JSON.parse(await readFile(startFile, "utf8"));
    await service.close();
    assert.equal((await events).at(-1)?.event, "cancelled");
    await assert.rejects(stat(startFile), { code: "ENOENT" });
    await assert.rejects(service.fetch("/v1/status"));
  });
});

describe("turns", () => {
  it("go one at a time, in order, whatever fails", async () => {
    const turns = new Room(1);
    const log: string[] = [];
    const work =
      (name: string, fails = false) =>
      async () => {
        log.push(`${name} begins`);
        await setTimeout(1);
        log.push(`${name} ends`);
        if (fails) throw new Error(name);
        return name;
      };
    const first = turns.run(1, work("a", true));
    const second = turns.run(1, work("b"));
    await assert.rejects(first, /a/);
    assert.equal(await second, "b");
    assert.deepEqual(log, ["a begins", "a ends", "b begins", "b ends"]);
  });

  it("are given up when the signal fires before", async () => {
    const turns = new Room(1);
    let finish = () => {};
    const first = turns.run(1, () => new Promise<void>((resolve) => (finish = resolve)));
    const controller = new AbortController();
    const second = turns.run(1, async () => assert.fail("it ran"), controller.signal);
    controller.abort();
    await assert.rejects(second, { code: "CANCELLED" });
    finish();
    await first;
    assert.equal(await turns.run(1, async () => 3), 3);
  });
});
