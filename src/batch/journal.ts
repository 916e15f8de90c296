import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { SmhdrError, unreadable } from "../errors.js";

/** What became of a bracket. `id` is its task's: other photographs or other settings are another task. */
export type JournalRecord =
  | { readonly kind: "begun"; readonly id: string; readonly outputs: readonly string[] }
  | DoneRecord
  | {
      readonly kind: "set-aside";
      readonly id: string;
      readonly name: string;
      readonly code: string;
      readonly message: string;
    };

export interface DoneRecord {
  readonly kind: "done";
  readonly id: string;
  readonly name: string;
  /** From the output folder, and how long they are. */
  readonly outputs: readonly { readonly path: string; readonly bytes: number }[];
  readonly seconds: number;
  readonly attempts: number;
  readonly notes: readonly string[];
}

/**
 * The memory of a batch: a file of lines that only grows, each a checksum and a JSON record, on the disk before `append`
 * returns. A process killed at any byte leaves at most one line unfinished, which the next one cuts off.
 */
export class Journal {
  private appending: Promise<void> = Promise.resolve();
  private waiting: { line: string; settled: (error?: Error) => void }[] = [];

  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private position: number,
    /** What was there when it was opened. */
    readonly records: readonly JournalRecord[],
  ) {}

  /** @throws SmhdrError IO */
  static async open(path: string): Promise<Journal> {
    const file = await open(path, "a+").catch((cause: Error) => {
      throw new SmhdrError("IO", `${path}: cannot be opened (${cause.message}).`, { cause });
    });
    try {
      const bytes = await file.readFile();
      const end = bytes.lastIndexOf(10) + 1;
      if (end < bytes.length) await file.truncate(end);
      const lines = bytes.subarray(0, end).toString("utf8").split("\n");
      return new Journal(path, file, end, lines.flatMap(readLine));
    } catch (cause) {
      await file.close();
      throw unreadable(path, cause);
    }
  }

  /** Resolves once the record is on the disk; records that come together share one trip there. */
  append(record: JournalRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ line: writeLine(record), settled: (error) => (error ? reject(error) : resolve()) });
      if (this.waiting.length === 1) this.appending = this.appending.then(() => this.flush());
    });
  }

  async close(): Promise<void> {
    await this.appending;
    await this.file.close();
  }

  private async flush(): Promise<void> {
    const batch = this.waiting;
    this.waiting = [];
    try {
      const bytes = Buffer.from(batch.map(({ line }) => line).join(""));
      for (let done = 0; done < bytes.length; ) done += (await this.file.write(bytes, done)).bytesWritten;
      await this.file.sync();
      this.position += bytes.length;
      for (const { settled } of batch) settled();
    } catch (cause) {
      // Half a line must not have another one written behind it.
      await this.file.truncate(this.position).catch(() => {});
      const error = new SmhdrError("IO", `${this.path}: cannot be written (${(cause as Error).message}).`, { cause });
      for (const { settled } of batch) settled(error);
    }
  }
}

function writeLine(record: JournalRecord): string {
  const json = JSON.stringify(record);
  return `${crc32(json).toString(16).padStart(8, "0")} ${json}\n`;
}

/** Lines whose checksum fails are passed over: their bracket is merged again. */
function readLine(line: string): JournalRecord[] {
  const json = line.slice(9);
  if (line[8] !== " " || Number.parseInt(line.slice(0, 8), 16) !== crc32(json)) return [];
  return [JSON.parse(json) as JournalRecord];
}
