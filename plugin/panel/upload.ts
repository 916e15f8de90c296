import { cancelled, PanelError, type ServiceClient } from "./client.js";
import type { Exposures, Row } from "./exposures.js";
import type { HostAdapter } from "./host.js";
import { PanelJob } from "./job.js";

const THUMBNAIL_SIZE = 160;
const MOST = 16;

/** The job of the service that holds the pixels of some rows. */
export class Upload {
  job: PanelJob | undefined;
  /** The rows whose pixels the job has, in its order. */
  rows: readonly Row[] = [];

  constructor(
    private readonly host: HostAdapter,
    private readonly exposures: Exposures,
    private readonly onProgress: (what: string, fraction: number) => void,
  ) {}

  indexOf(row: Row): number {
    return this.rows.indexOf(row);
  }

  /** A job with these rows' pixels: files are sent once; layers are read anew, for they may have changed. */
  async jobFor(
    client: ServiceClient,
    rows: readonly Row[],
    size: number | undefined,
    signal: AbortSignal,
  ): Promise<PanelJob> {
    if (this.host.addFiles) {
      if (!(await this.isAlive()) || rows.some((row) => this.indexOf(row) < 0)) await this.sendFiles(client, signal);
    } else {
      await this.sendLayers(client, rows, size, signal);
    }
    if (!this.job) throw cancelled();
    return this.job;
  }

  /** Sends all files to a new job and learns what they are. */
  async sendFiles(client: ServiceClient, signal: AbortSignal): Promise<void> {
    const { rows } = this.exposures;
    await this.remove();
    if (rows.length === 0) return;
    if (rows.length > MOST) {
      throw new PanelError("TOO_LARGE", `At most ${MOST} files can be open; these are ${rows.length}. Remove some.`);
    }
    const source = await this.host.open(
      rows.map(({ id }) => id),
      undefined,
    );
    if (source.kind !== "files") throw new PanelError("INTERNAL", "This host has no files.");
    const job = await PanelJob.create(client, source);
    this.job = job;
    this.rows = rows;
    for (const [i, row] of rows.entries()) {
      this.onProgress(`Reading ${row.name}`, i / rows.length);
      try {
        const { width, height, depth, stops } = await job.uploadFile(i, source.files[i].data, signal);
        row.problem = undefined;
        row.detail = `${width} x ${height}, ${depth === "uint16" ? 16 : 8} bits`;
        row.stops = stops ?? undefined;
        const data = await client.bytes(`${job.path}/exposures/${i}/thumbnail?size=${THUMBNAIL_SIZE}`, { signal });
        if (row.thumbnail) this.host.releaseAddress(row.thumbnail);
        row.thumbnail = this.host.imageAddress({ type: "image/png", data });
      } catch (error) {
        if (signal.aborted || !(error instanceof PanelError) || error.code === "NO_SERVICE") throw error;
        row.problem = error.message;
      }
    }
    this.exposures.takeMetadata();
  }

  /** Whether the service still has the job: it forgets those that nobody asks for. */
  async isAlive(): Promise<boolean> {
    if (!this.job) return false;
    try {
      await this.job.client.request("GET", this.job.path);
      return true;
    } catch (error) {
      if (error instanceof PanelError && error.code === "NOT_FOUND") return false;
      throw error;
    }
  }

  forget(): void {
    this.job = undefined;
    this.rows = [];
  }

  async remove(): Promise<void> {
    const { job } = this;
    this.forget();
    await job?.remove();
  }

  private async sendLayers(
    client: ServiceClient,
    rows: readonly Row[],
    size: number | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    await this.remove();
    const source = await this.host.open(
      rows.map(({ id }) => id),
      size,
    );
    if (source.kind !== "rows") throw new PanelError("INTERNAL", "This host has no layers.");
    const job = await PanelJob.create(client, source);
    this.job = job;
    this.rows = rows;
    await job.uploadRows(source, (fraction) => this.onProgress("Reading layers", fraction), signal);
  }
}
