import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Journal, type JournalRecord } from "../../src/batch/journal.js";
import { takeLock } from "../../src/batch/lock.js";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-journal-"));
});
after(() => rm(folder, { recursive: true, force: true }));

const begun = (id: string): JournalRecord => ({ kind: "begun", id, outputs: [`${id} é.exr`] });

async function recordsOf(path: string): Promise<readonly JournalRecord[]> {
  const journal = await Journal.open(path);
  await journal.close();
  return journal.records;
}

describe("the journal", () => {
  it("remembers, in order, what was appended at once and later", async () => {
    const path = join(folder, "kept.txt");
    const journal = await Journal.open(path);
    await Promise.all(["a", "b", "c"].map((id) => journal.append(begun(id))));
    await journal.append(begun("d"));
    await journal.close();
    assert.deepEqual(await recordsOf(path), ["a", "b", "c", "d"].map(begun));
  });

  it("cut off at any byte loses only the line that was not finished, and goes on", async () => {
    const path = join(folder, "cut.txt");
    const journal = await Journal.open(path);
    for (const id of ["a", "b", "c"]) await journal.append(begun(id));
    await journal.close();
    const whole = await readFile(path);
    for (let length = 0; length <= whole.length; length++) {
      await writeFile(path, whole.subarray(0, length));
      const complete = whole.subarray(0, length).filter((byte) => byte === 10).length;
      const again = await Journal.open(path);
      assert.deepEqual(again.records, ["a", "b", "c"].slice(0, complete).map(begun));
      await again.append(begun("z"));
      await again.close();
      assert.deepEqual(await recordsOf(path), [...["a", "b", "c"].slice(0, complete), "z"].map(begun));
    }
  });

  it("passes over a line that was damaged", async () => {
    const path = join(folder, "damaged.txt");
    const journal = await Journal.open(path);
    for (const id of ["a", "b", "c"]) await journal.append(begun(id));
    await journal.close();
    const bytes = await readFile(path);
    bytes[bytes.indexOf('"b"') + 1] = 120;
    await writeFile(path, bytes);
    assert.deepEqual(await recordsOf(path), ["a", "c"].map(begun));
  });

  it("says where it cannot be", async () => {
    await assert.rejects(Journal.open(join(folder, "nowhere", "j.txt")), { code: "IO", message: /nowhere/ });
  });
});

describe("the lock of an output folder", () => {
  it("keeps others out until it is given up", async () => {
    const path = join(folder, "a.lock");
    const unlock = await takeLock(path);
    await assert.rejects(takeLock(path), { code: "IO", message: /Another batch .*works in this folder/ });
    await unlock();
    await (await takeLock(path))();
  });

  it("is taken over from a process that is dead, and not from another machine's", async () => {
    const path = join(folder, "b.lock");
    await writeFile(path, JSON.stringify({ host: hostname(), pid: 2 ** 30, since: Date.now() }));
    await (await takeLock(path))();
    await writeFile(path, JSON.stringify({ host: "elsewhere", pid: 2 ** 30, since: Date.now() }));
    await assert.rejects(takeLock(path), { code: "IO", message: /on elsewhere/ });
    await writeFile(path, JSON.stringify({ host: hostname(), pid: 1, since: 0 })); // before this machine started
    await (await takeLock(path))();
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.startsWith("b.lock")),
      [],
    );
  });
});
