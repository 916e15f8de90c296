import { setImmediate } from "node:timers/promises";
import { memoryPixels, type PixelFormat } from "../bracket/pixels.js";
import { ProxyBuilder } from "../bracket/proxy.js";
import type { Member } from "../bracket/read-bracket.js";
import { SmhdrError } from "../errors.js";
import type { PixelData } from "../image.js";
import { ServiceError } from "./errors.js";
import type { JobExposure } from "./exposure.js";

const arrays = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array } as const;
const ROWS_AT_ONCE = 64;

/** An exposure whose rows are uploaded, in strips and any order, straight into the array that the merge reads. */
export class RowExposure implements JobExposure {
  readonly notes = [];
  private data: PixelData | undefined;
  private readonly received: Uint8Array;
  private readonly stride: number;
  /** Rows [0, proxied) are in the proxy already, so that little of it is left to do when the last strip arrives. */
  private proxied = 0;
  private builder: ProxyBuilder | undefined;
  private finished: Member | undefined;

  /** @throws SmhdrError OUT_OF_MEMORY */
  constructor(
    readonly name: string,
    private readonly format: PixelFormat,
  ) {
    const { width, height, depth } = format;
    this.stride = width * 3;
    this.received = new Uint8Array(height);
    try {
      this.data = new arrays[depth](this.stride * height);
    } catch (cause) {
      throw new SmhdrError("OUT_OF_MEMORY", `There is no memory for ${width} x ${height} pixels of ${depth}.`, {
        cause,
      });
    }
  }

  get complete(): boolean {
    return this.received.every((row) => row === 1);
  }

  get missing(): string | undefined {
    const first = this.received.indexOf(0);
    if (first < 0) return undefined;
    const next = this.received.indexOf(1, first);
    return `rows ${first} to ${(next < 0 ? this.format.height : next) - 1} have not been uploaded`;
  }

  /**
   * Takes rows [first, first + count) from a request's body.
   * @throws ServiceError INVALID_ARGUMENT for rows outside, or a body of another length; BAD_INPUT for numbers that are not
   * finite. The rows count as missing then.
   */
  async receive(body: AsyncIterable<Uint8Array>, first: number, count: number, length?: number): Promise<void> {
    const { height } = this.format;
    if (!(first >= 0 && count >= 1 && first + count <= height)) {
      throw new ServiceError(
        "INVALID_ARGUMENT",
        `row, rows: expected rows within 0 to ${height - 1}; got ${count} from ${first}.`,
      );
    }
    const samples = this.open().subarray(first * this.stride, (first + count) * this.stride);
    const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
    const wrong = (came: string) =>
      new ServiceError(
        "INVALID_ARGUMENT",
        `The body: expected ${bytes.length} bytes (${count} rows of ${this.stride} samples of ${this.format.depth}); got ${came}.`,
      );
    if (length !== undefined && length !== bytes.length) throw wrong(String(length));

    this.received.fill(0, first, first + count);
    this.finished = undefined;
    let at = 0;
    for await (const chunk of body) {
      if (at + chunk.length > bytes.length) throw wrong("more");
      bytes.set(chunk, at);
      at += chunk.length;
    }
    if (at !== bytes.length) throw wrong(String(at));
    this.open(); // deleted meanwhile?
    if (samples instanceof Float32Array && !samples.every(Number.isFinite)) {
      throw new ServiceError("BAD_INPUT", `${this.name}: expected finite samples; found NaN or infinity.`);
    }
    this.received.fill(1, first, first + count);
    if (first < this.proxied) this.forgetProxy(); // rows that were sent again
    if (first === this.proxied) this.addToProxy(samples);
  }

  async member(): Promise<Member> {
    if (this.finished) return this.finished;
    const { height } = this.format;
    while (this.proxied < height) {
      const end = Math.min(this.proxied + ROWS_AT_ONCE, height);
      this.addToProxy(this.open().subarray(this.proxied * this.stride, end * this.stride));
      await setImmediate(); // other requests are not to wait
    }
    const pixels = memoryPixels(this.format, this.open());
    const proxy = (this.builder as ProxyBuilder).finish();
    this.forgetProxy(); // finish() made the builder's sums into means: rows that come again begin a new one
    this.finished = { name: this.name, pixels, proxy, settings: {} };
    return this.finished;
  }

  close(): void {
    this.data = undefined;
    this.finished = undefined;
  }

  private addToProxy(rows: PixelData): void {
    const { width, height, encoding } = this.format;
    this.builder ??= new ProxyBuilder(width, height, encoding);
    this.builder.add(rows);
    this.proxied += rows.length / this.stride;
  }

  private forgetProxy(): void {
    this.builder = undefined;
    this.proxied = 0;
  }

  private open(): PixelData {
    if (!this.data) throw new ServiceError("NOT_FOUND", "The job was deleted.");
    return this.data;
  }
}
