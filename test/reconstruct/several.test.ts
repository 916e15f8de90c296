import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Engine } from "../../src/engine/engine.js";
import { SeveralEngines } from "../../src/engine/several.js";
import { SmhdrError } from "../../src/errors.js";
import { type NetworkOptions, reconstructPicture } from "../../src/reconstruct/network.js";
import type { Region } from "../../src/reconstruct/region.js";

const size = { width: 300, height: 200 };
const texture = Float32Array.from({ length: 997 }, (_, i) => 0.5 + 0.5 * Math.sin(i * i));

const sampler = {
  async read({ x, y, width, height }: Region, out: Float32Array) {
    for (let j = 0, i = 0; j < height; j++)
      for (let k = 0; k < width; k++)
        for (let c = 0; c < 6; c++) out[i++] = texture[(7 * (x + k + 8) + 13 * (y + j + 8) + c) % 997];
  },
};

const newState = () => ({ runs: 0, atOnce: 0, most: 0, sizes: new Set<number>() });

/** A device that takes `milliseconds(run)`; its result depends on its sums, and like a network's on where a tile ends. */
function fake(milliseconds: (run: number) => number, failsAt = Number.POSITIVE_INFINITY, state = newState()) {
  let sums: number | undefined;
  const engine: Engine = {
    device: "cuda:0 (a fake)",
    parallel: 2,
    bytesPerPixel: () => 84,
    async run({ exposures: [given], batch, height, width, record }, { signal, onProgress } = {}) {
      const run = state.runs++;
      state.sizes.add(batch * height * width);
      state.most = Math.max(state.most, ++state.atOnce);
      onProgress?.(0.5);
      try {
        await sleep(milliseconds(run), undefined, { signal });
      } catch (cause) {
        throw new SmhdrError("CANCELLED", "Cancelled.", { cause });
      } finally {
        state.atOnce--;
      }
      if (run >= failsAt) throw new SmhdrError("INTERNAL", "Broken.");
      let own = 0;
      for (let i = 0; i < given.length; i += 101) own += given[i] / given.length;
      if (record) sums = own;
      const out = new Float32Array(batch * height * width * 3);
      for (let i = 0; i < out.length; i++) out[i] = (given[2 * i] + 0.1 * own) / (1 + (sums ?? 0));
      return out;
    },
    clearSums: () => {
      sums = undefined;
    },
  };
  return { engine, state };
}

const join = (...fakes: { readonly engine: Engine }[]) =>
  new SeveralEngines(
    fakes.map(({ engine }) => engine),
    fakes.map((_, i) => `cuda:${i}` as const),
  );

const picture = (engine: Engine, options: Partial<NetworkOptions> = {}) =>
  reconstructPicture(size, [sampler], engine, { memory: 2 ** 31, tile: 136, ...options });

describe("tiles on several devices", async () => {
  const expected = await picture({ ...fake(() => 0).engine, parallel: 1 });

  it("give the same bits whatever the devices and the order in which tiles end", async () => {
    const delays: readonly ((run: number) => number)[] = [
      () => 1,
      (run) => (run % 3 === 1 ? 60 : 1), // the first tile ends last
      (run) => 20 - run,
    ];
    for (const count of [1, 2, 3]) {
      const devices = delays.slice(0, count).map((delay) => fake(delay));
      const fractions: number[] = [];
      const result = await picture(join(...devices), { onProgress: (fraction) => fractions.push(fraction) });
      assert.deepEqual(result, expected);
      assert.ok(fractions.every((fraction, i) => fraction <= 1 && (i === 0 || fraction >= fractions[i - 1])));
      assert.ok(devices.every(({ state }) => state.runs > 1));
    }
  });

  it("go on without a device that fails, with the same bits", async () => {
    for (const failsAt of [0, 1]) {
      const notes: string[] = [];
      const devices = [fake(() => 5), fake(() => 3, failsAt), fake(() => 4)];
      const result = await picture(join(...devices), { onNote: ({ message }) => notes.push(message) });
      assert.deepEqual(result, expected);
      assert.deepEqual(notes, ["cuda:0 (a fake) is left out: Broken."]);
    }
    const all = [fake(() => 5, 1), fake(() => 5, 2)];
    await assert.rejects(picture(join(...all)), { code: "INTERNAL" });
    assert.ok(all.every(({ state }) => state.atOnce === 0)); // nothing is left at work
  });

  it("stop all of them when they are stopped", async () => {
    const devices = [fake(() => 20), fake(() => 20)];
    const controller = new AbortController();
    const running = picture(join(...devices), { signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    await assert.rejects(running, { code: "CANCELLED" });
    const runs = devices.map(({ state }) => state.runs);
    await sleep(60);
    assert.deepEqual(
      devices.map(({ state }) => state.runs),
      runs,
    );
    assert.ok(runs[0] + runs[1] < 2 + 6);
  });

  it("are as many at once as memory allows, of a size that does not depend on the number of devices", async () => {
    const base = size.width * size.height * 12 + 200 * 1024 ** 2;
    const both = newState();
    const few = [fake(() => 3, Number.POSITIVE_INFINITY, both), fake(() => 3, Number.POSITIVE_INFINITY, both)];
    const memory = base + 3.5 * 136 * 136 * 96;
    const alone = await picture(fake(() => 0).engine, { memory });
    assert.deepEqual(await picture(join(...few), { memory }), alone);
    assert.equal(both.most, 3);
    const sizes: (readonly number[])[] = [];
    for (const count of [1, 4]) {
      const state = newState();
      const devices = Array.from({ length: count }, () => fake(() => 1, Number.POSITIVE_INFINITY, state));
      const large = { width: 1000, height: 700 };
      const memory = 1000 * 700 * (12 + 60) + 200 * 1024 ** 2;
      await reconstructPicture(large, [sampler], join(...devices), { memory, tile: "auto" });
      sizes.push([...state.sizes]);
    }
    assert.deepEqual(sizes[0], sizes[1]);
    assert.ok(sizes[0].length === 2 && Math.min(...sizes[0]) <= 512 ** 2);
  });
});
