import { pixelBytes } from "../bracket/pixels.js";
import { MAX_EXPOSURES } from "../bracket/read-bracket.js";
import { MAX_PIXELS } from "../image.js";
import { ServiceError } from "./errors.js";
import { FileExposure } from "./file-exposure.js";
import { Job } from "./job.js";
import { RowExposure } from "./row-exposure.js";
import { defaultSettings, encodingOf, type JobRequest, withSettings } from "./settings.js";

export interface Limits {
  /** Exposures of a job. */
  readonly exposures: number;
  /** Pixels of an exposure. */
  readonly pixels: number;
  readonly jobs: number;
  /** Bytes for the pixels of all jobs, results included. */
  readonly memory: number;
  /** Seconds after which a job that nobody asks for is forgotten. */
  readonly expires: number;
}

export const defaultLimits: Limits = {
  exposures: MAX_EXPOSURES,
  pixels: MAX_PIXELS,
  jobs: 8,
  memory: 4 * 1024 ** 3,
  expires: 600,
};

export type AnyJob = Job<RowExposure> | Job<FileExposure>;

/** Bytes of a pixel of the result. */
const RESULT_BYTES = 12;

/** The jobs there are, within the limits. */
export class JobStore {
  private readonly jobs = new Map<string, AnyJob>();
  /** Bytes that each job's pixels take, or will. */
  private readonly held = new Map<AnyJob, number>();
  private readonly timer: NodeJS.Timeout;

  constructor(readonly limits: Limits) {
    this.timer = setInterval(() => this.expire(), Math.min(5000, limits.expires * 250));
    this.timer.unref();
  }

  get all(): readonly AnyJob[] {
    return [...this.jobs.values()];
  }

  /** Throws NOT_FOUND. */
  find(id: string): AnyJob {
    const job = this.jobs.get(id);
    if (!job) throw new ServiceError("NOT_FOUND", "There is no such job: it was deleted, or forgotten after a while.");
    return job;
  }

  /** @throws ServiceError BUSY, TOO_LARGE or INVALID_ARGUMENT; SmhdrError OUT_OF_MEMORY */
  create(request: JobRequest): AnyJob {
    if (this.jobs.size >= this.limits.jobs) {
      throw new ServiceError(
        "BUSY",
        `There are ${this.jobs.size} jobs already: delete one, or wait until one expires.`,
      );
    }
    const settings = withSettings(defaultSettings, request);
    const names = request.exposures.map(({ name }, i) => name || `exposure ${i + 1}`);
    if (request.source === "files") {
      const given = (["width", "height", "format", "encoding"] as const).filter(
        (field) => request[field] !== undefined,
      );
      if (given.length > 0) {
        throw new ServiceError("INVALID_ARGUMENT", `${given[0]}: files say that themselves; leave it out.`);
      }
      const exposures = names.map((name) => new FileExposure(name));
      return this.add(new Job({ width: null, height: null, exposures, settings }), 0);
    }
    const { width, height, format: depth } = request;
    if (width === undefined || height === undefined || depth === undefined) {
      throw new ServiceError("INVALID_ARGUMENT", "width, height and format: all three are needed for raw rows.");
    }
    const bytes = this.admit({ width, height, depth }, names.length, 0);
    const encoding = encodingOf(request.encoding ?? {});
    const exposures = names.map((name) => new RowExposure(name, { width, height, depth, encoding }));
    return this.add(new Job({ width, height, exposures, settings }), bytes);
  }

  /** Makes room for a decoded file of this size in a job. Throws as create does. */
  admitFile(
    job: AnyJob,
    size: { readonly width: number; readonly height: number; readonly depth: "uint8" | "uint16" },
  ) {
    this.find(job.id); // deleted while its file came?
    this.held.set(job, this.admit(size, job.exposures.length, this.held.get(job) ?? 0));
    job.width = size.width;
    job.height = size.height;
  }

  async remove(job: AnyJob): Promise<void> {
    this.jobs.delete(job.id);
    await job.close();
    this.held.delete(job);
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.all.map((job) => this.remove(job)));
  }

  private add(job: AnyJob, bytes: number): AnyJob {
    this.jobs.set(job.id, job);
    this.held.set(job, bytes);
    return job;
  }

  /** Bytes of a whole job of such exposures, once there is room for it beside the others (which hold all but `own`). */
  private admit(
    size: { width: number; height: number; depth: "uint8" | "uint16" | "float32" },
    count: number,
    own: number,
  ) {
    const { pixels, memory } = this.limits;
    const { width, height } = size;
    if (width * height > pixels) {
      throw new ServiceError("TOO_LARGE", `${width} x ${height} pixels: an exposure may have ${pixels}.`);
    }
    const bytes = Math.max(own, count * pixelBytes(size) + width * height * RESULT_BYTES);
    const mebibytes = (value: number) => `${Math.ceil(value / 2 ** 20)} MiB`;
    if (bytes > memory) {
      throw new ServiceError(
        "TOO_LARGE",
        `This job needs ${mebibytes(bytes)}; the service may hold ${mebibytes(memory)} (smhdr serve --memory).`,
      );
    }
    const others = [...this.held.values()].reduce((sum, value) => sum + value, 0) - own;
    if (others + bytes > memory) {
      throw new ServiceError(
        "BUSY",
        `This job needs ${mebibytes(bytes)}, other jobs hold ${mebibytes(others)} of ${mebibytes(memory)}: delete one, or try later.`,
      );
    }
    return bytes;
  }

  private expire(): void {
    const oldest = performance.now() - this.limits.expires * 1000;
    for (const job of this.all) {
      if (!job.busy && job.requests === 0 && job.touched < oldest) void this.remove(job);
    }
  }
}
