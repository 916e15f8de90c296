import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { EventEmitter } from "node:events";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { FromProcess, ToProcess } from "../../src/batch/messages.js";
import { BracketPool } from "../../src/batch/pool.js";
import type { BracketTask } from "../../src/batch/task.js";

/** Processes that pretend to merge on devices; `answer` may say that they cannot. */
function imitation(answer: (device: string, name: string) => FromProcess | undefined = () => undefined) {
  const seen = { processes: 0, ended: 0, computing: new Map<string, number>(), most: 0, merged: [] as string[] };
  class Child extends EventEmitter {
    connected = true;
    exitCode: number | null = null;
    signalCode = null;
    private turn = () => {};

    send(message: ToProcess, sent: () => void) {
      sent();
      setImmediate(() => this.hear(message));
    }
    disconnect() {
      this.connected = false;
      this.exitCode = 0;
      seen.ended++;
      this.emit("exit", 0, null);
    }
    private tell(message: FromProcess) {
      if (this.connected) this.emit("message", message);
    }
    private async hear(message: ToProcess) {
      if (message.kind === "turn") this.turn();
      if (message.kind === "load") this.tell({ kind: "loaded", notes: [], devices: ["cuda:0", "cuda:1"] });
      if (message.kind !== "merge") return;
      const { device = "none" } = message.limits;
      const other = answer(device, message.task.name);
      if (other) return this.tell(other);
      const granted = new Promise<void>((resolve) => {
        this.turn = resolve;
      });
      this.tell({ kind: "wait" });
      await granted;
      const { computing } = seen;
      computing.set(device, (computing.get(device) ?? 0) + 1);
      assert.equal(computing.get(device), 1, "one bracket at a time on a device");
      seen.most = Math.max(
        seen.most,
        [...computing.values()].reduce((sum, count) => sum + count, 0),
      );
      await sleep(10);
      computing.set(device, 0);
      seen.merged.push(device);
      this.tell({ kind: "computed", seconds: 0.01 });
      this.tell({ kind: "merged", result: { bytes: [1], seconds: 1, notes: ["its own"] } });
    }
  }
  const start = () => {
    seen.processes++;
    return new Child() as unknown as ChildProcess;
  };
  return { start, seen };
}

const settings = { device: "cuda:all" } as const;
const task = (name: string): BracketTask => ({ id: name, name, photographs: ["/none"], settings, outputs: [] });
const failed = (load: boolean, code: "INTERNAL" | "BAD_INPUT" = "INTERNAL"): FromProcess => ({
  ...{ kind: "failed", code, message: "Broken." },
  ...(load && { load }),
});

async function poolOf(start: () => ChildProcess) {
  const pool = new BracketPool(settings, { memory: 2 ** 34, threads: 2 }, start);
  await pool.check(settings);
  return pool;
}

const all = (pool: BracketPool, count: number) =>
  Promise.all(Array.from({ length: count }, (_, i) => pool.run(task(`bracket ${i}`))));

describe("brackets of a batch on several devices", () => {
  it("are computed by all of them, one by each at a time", async () => {
    const { start, seen } = imitation();
    const pool = await poolOf(start);
    assert.equal(seen.ended, 1); // it held all devices
    assert.equal(pool.plan.jobs, 4);
    assert.equal(pool.devices, 2);
    const results = await all(pool, 12);
    assert.ok(results.every(({ notes }) => notes.join() === "its own"));
    assert.equal(seen.most, 2);
    for (const device of ["cuda:0", "cuda:1"]) assert.ok(seen.merged.filter((each) => each === device).length >= 4);
    assert.ok(seen.processes <= 1 + 4);
    assert.ok(Math.abs(pool.engineSeconds - 0.12) < 1e-9);
    await pool.close();
    assert.equal(seen.ended, seen.processes);
  });

  it("go to the others where a device does not work, and a note says so", async () => {
    const { start, seen } = imitation((device) => (device === "cuda:1" ? failed(true) : undefined));
    const pool = await poolOf(start);
    const results = await all(pool, 8);
    assert.deepEqual(seen.merged, Array(8).fill("cuda:0"));
    const notes = results.flatMap((result) => result.notes).filter((note) => note !== "its own");
    assert.deepEqual(notes, ["cuda:1 is left out: Broken."]);
    assert.equal(pool.devices, 1);
    await pool.close();
    assert.equal(seen.ended, seen.processes);
  });

  it("fail where no device works, or a bracket itself does not", async () => {
    const none = await poolOf(imitation(() => failed(true)).start);
    await assert.rejects(none.run(task("a")), { code: "INTERNAL", message: "Broken." });
    await none.close();
    for (const code of ["INTERNAL", "BAD_INPUT"] as const) {
      const { start, seen } = imitation((_, name) => (name === "bad" ? failed(false, code) : undefined));
      const pool = await poolOf(start);
      await assert.rejects(pool.run(task("bad")), { code });
      assert.equal(seen.ended, code === "INTERNAL" ? 2 : 1); // a device may do nothing more for a process where it failed
      assert.equal(pool.devices, 2);
      await all(pool, 4);
      await pool.close();
    }
  });
});
