import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Note } from "../../src/bracket/bracket.js";
import { cudaDevices } from "../../src/engine/devices.js";
import type { Engine, EngineInput } from "../../src/engine/engine.js";
import { chooseDevice, isDeviceName } from "../../src/engine/select.js";
import { joinDevices, SeveralEngines } from "../../src/engine/several.js";
import { SmhdrError } from "../../src/errors.js";

const input = (pixels = 64): EngineInput => ({ exposures: [], batch: 1, height: 8, width: pixels / 8 });
const sample = { ...input(), record: true };

/** Says which device computed; takes `milliseconds`, or fails with `error` where it is set. */
function fake(index: number, milliseconds = 1) {
  const state = { runs: 0, recorded: 0, cleared: 0, atOnce: 0, most: 0, error: undefined as Error | undefined };
  const engine: Engine = {
    device: `cuda:${index} (a fake)`,
    parallel: 2,
    bytesPerPixel: () => 84 + index,
    async run({ record }, { signal, onProgress } = {}) {
      state.runs++;
      state.most = Math.max(state.most, ++state.atOnce);
      try {
        await sleep(milliseconds, undefined, { signal });
      } catch (cause) {
        throw new SmhdrError("CANCELLED", "Cancelled.", { cause });
      } finally {
        state.atOnce--;
      }
      if (state.error) throw state.error;
      if (record) state.recorded++;
      onProgress?.(1);
      return Float32Array.of(index);
    },
    clearSums: () => state.cleared++,
  };
  return { engine, state };
}

function several(...fakes: ReturnType<typeof fake>[]) {
  const notes: string[] = [];
  const engine = new SeveralEngines(
    fakes.map(({ engine }) => engine),
    fakes.map((_, i) => `cuda:${i}` as const),
  );
  const onNote = ({ message }: Note) => notes.push(message);
  return { engine, notes, onNote, run: (of: EngineInput) => engine.run(of, { onNote }) };
}

const broken = new SmhdrError("INTERNAL", "CUDA, kernels: unspecified launch failure.");

describe("several devices as one", () => {
  it("take runs as they are free, and all of them the sums", async () => {
    const [fast, slow] = [fake(0, 2), fake(1, 40)];
    const { engine, run } = several(fast, slow);
    assert.equal(engine.parallel, 4);
    assert.equal(engine.bytesPerPixel(3), 85);
    assert.match(engine.device, /cuda:0.*cuda:1/);
    await run(sample);
    assert.deepEqual([fast.state.recorded, slow.state.recorded], [1, 1]);
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let i = 0; i < 4; i++) await run(input());
      }),
    );
    assert.equal(fast.state.runs + slow.state.runs, 2 + 16);
    assert.ok(fast.state.runs > slow.state.runs, `${fast.state.runs} ${slow.state.runs}`);
    assert.ok(slow.state.runs > 1 && fast.state.most <= 3);
    engine.clearSums();
    assert.deepEqual([fast.state.cleared, slow.state.cleared], [1, 1]);
  });

  it("leave out one that fails, whose runs others do", async () => {
    const [good, bad] = [fake(0, 5), fake(1, 1)];
    const { engine, notes, run } = several(good, bad);
    await run(sample);
    bad.state.error = broken;
    const results = await Promise.all(Array.from({ length: 6 }, () => run(input())));
    assert.ok(results.every(([index]) => index === 0));
    assert.deepEqual(notes, ["cuda:1 (a fake) is left out: CUDA, kernels: unspecified launch failure."]);
    assert.equal(engine.parallel, 2);
    const { runs } = bad.state;
    await run(input());
    assert.equal(bad.state.runs, runs);
    good.state.error = broken;
    await assert.rejects(run(input()), broken); // the last one's own error
  });

  it("go on without one that fails to take the sums, and fail where all do", async () => {
    const [good, bad] = [fake(0), fake(1)];
    bad.state.error = broken;
    const { notes, run } = several(bad, good);
    await run(sample);
    assert.equal(notes.length, 1);
    assert.deepEqual(await run(input()), Float32Array.of(0));
    const all = several(fake(0), fake(1));
    for (const error of [broken, new Error("another")]) {
      const [one, other] = [fake(0), fake(1)];
      one.state.error = other.state.error = error;
      await assert.rejects(several(one, other).run(sample), error);
    }
    assert.ok(all.engine.devices.length === 2);
  });

  it("do not leave one out that is stopped, lacks memory or was given nonsense", async () => {
    const [one, other] = [fake(0, 500), fake(1, 500)];
    const { engine, notes, onNote, run } = several(one, other);
    const controller = new AbortController();
    const running = engine.run(sample, { signal: controller.signal, onNote });
    controller.abort();
    await assert.rejects(running, { code: "CANCELLED" });
    for (const code of ["OUT_OF_MEMORY", "INVALID_ARGUMENT"] as const) {
      const [a, b] = [fake(0), fake(1)];
      a.state.error = new SmhdrError(code, "Not this.");
      await assert.rejects(several(a, b).run(input()), { code });
      await assert.rejects(several(a, b).run(sample), { code });
    }
    assert.deepEqual(notes, []);
    assert.equal(engine.parallel, 4);
    assert.ok(run);
  });

  it("give a device with little memory only what fits it, and nothing without the sums", async () => {
    const [roomy, small] = [fake(0, 5), fake(1, 1)];
    const engine = several(
      { ...roomy, engine: { ...roomy.engine, pixelsAtOnce: () => 1000 } },
      { ...small, engine: { ...small.engine, pixelsAtOnce: () => 100 } },
    );
    assert.equal(engine.engine.pixelsAtOnce(3), 1000);
    await Promise.all(Array.from({ length: 4 }, () => engine.run(input(800))));
    assert.equal(small.state.runs, 0);
    await Promise.all([engine.run(input(64)), engine.run(input(64))]);
    assert.equal(small.state.runs, 1);
    await engine.run({ ...input(800), record: true });
    await Promise.all([engine.run(input(64)), engine.run(input(64))]);
    assert.equal(small.state.runs, 1);
    await assert.rejects(engine.run(input(1600)), { code: "OUT_OF_MEMORY" });
    const even = several(
      { ...roomy, engine: { ...roomy.engine, pixelsAtOnce: () => 1000 } },
      { ...small, engine: { ...small.engine, pixelsAtOnce: () => 400 } },
    );
    assert.equal(even.engine.pixelsAtOnce(3), 400);
  });

  it("are those that can be made; what keeps the others out is said", async () => {
    const notes: string[] = [];
    const make = (wrong: Record<string, SmhdrError>) =>
      joinDevices(
        ["cuda:0", "cuda:1", "cuda:2"],
        async (device) => {
          if (wrong[device]) throw wrong[device];
          return fake(Number(device.slice(5))).engine;
        },
        (message) => notes.push(message),
      );
    const disagrees = new SmhdrError("UNSUPPORTED", '"cuda:1" computes something else than the processor.');
    const weights = new SmhdrError("INVALID_ARGUMENT", "weights: wrong.");
    assert.deepEqual((await make({})).devices, ["cuda:0", "cuda:1", "cuda:2"]);
    assert.deepEqual((await make({ "cuda:1": disagrees })).devices, ["cuda:0", "cuda:2"]);
    assert.deepEqual(notes.splice(0), [`cuda:1 is left out: ${disagrees.message}`]);
    const last = await make({ "cuda:0": broken, "cuda:1": disagrees });
    assert.deepEqual([last.device, last.devices], ["cuda:2 (a fake)", undefined]);
    assert.equal(notes.splice(0).length, 2);
    await assert.rejects(make({ "cuda:0": broken, "cuda:1": disagrees, "cuda:2": disagrees }), broken);
    await assert.rejects(make({ "cuda:1": weights }), weights);
    assert.deepEqual(notes, []);
  });

  it("have a name, which auto takes where there is more than one, and are listed", () => {
    const machine = (...refusals: string[]) => ({
      absence: "",
      devices: refusals.map((refusal) => ({ name: "H", capability: 9, memory: 1, bf16: true, refusal })),
    });
    assert.ok(isDeviceName("cuda:all"));
    assert.equal(chooseDevice(machine("", "")), "cuda:all");
    assert.equal(chooseDevice(machine("too old", "")), "cuda:1");
    assert.equal(chooseDevice(machine("too old")), "cpu");
    const listed = (...refusals: string[]) => cudaDevices({ cudaDevices: () => machine(...refusals) });
    assert.deepEqual(
      listed("", "too old", "").map(({ name }) => name),
      ["cuda:0", "cuda:1", "cuda:2", "cuda:all"],
    );
    assert.match(listed("", "too old", "")[3].model, /cuda:0, cuda:2 together/);
    assert.equal(listed("", "too old").length, 2);
  });
});
