import { cancelled, HOW_TO_START, PanelError, type ServiceClient } from "./client.js";
import type { PixelSource } from "./host.js";

/** What the panel reads of a job; docs/service.md describes all of it. */
export interface JobReport {
  readonly id: string;
  readonly state: "open" | "waiting" | "merging" | "done" | "failed" | "cancelled";
  readonly width: number | null;
  readonly height: number | null;
  readonly progress: { readonly stage: string; readonly fraction: number } | null;
  readonly notes: readonly { readonly code: string; readonly message: string }[];
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly result: ResultReport | null;
}

export interface ResultReport {
  readonly width: number;
  readonly height: number;
  readonly primaries: unknown;
  readonly reference: number;
  readonly ev: readonly (number | null)[];
  readonly evSource: "given" | "exif" | "estimated";
  readonly method: string;
  readonly model: string | null;
  readonly seconds: number;
}

/** Settings of a merge, as the service takes them. */
export interface MergeSettings {
  readonly use?: readonly number[] | null;
  readonly ev?: readonly number[] | null;
  readonly reference?: number | null;
  readonly method: "radiance" | "network";
  readonly model: string | null;
  readonly precision: "auto" | "fp32" | "bf16";
  readonly align: "auto" | "none";
  readonly size?: number;
}

/** What the service found in a file. */
export interface FileReport {
  readonly width: number;
  readonly height: number;
  readonly depth: string;
  readonly stops: number | null;
}

const POLL_MILLISECONDS = 200;

/** A job of the service, from the panel's side. */
export class PanelJob {
  result: ResultReport | undefined;

  private constructor(
    readonly client: ServiceClient,
    readonly id: string,
  ) {}

  static async create(client: ServiceClient, source: PixelSource): Promise<PanelJob> {
    const json =
      source.kind === "files"
        ? { source: "files", exposures: source.files.map(({ name }) => ({ name })) }
        : {
            width: source.width,
            height: source.height,
            format: source.format,
            encoding: source.encoding,
            exposures: source.names.map((name) => ({ name })),
          };
    const { id } = await client.json<JobReport>("POST", "/jobs", { json });
    return new PanelJob(client, id);
  }

  get path(): string {
    return `/jobs/${this.id}`;
  }

  /** Sends all strips of a source of rows. */
  async uploadRows(
    source: PixelSource & { kind: "rows" },
    onProgress: (fraction: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { height, names, stripRows } = source;
    for (let i = 0; i < names.length; i++) {
      for (let row = 0; row < height; row += stripRows) {
        if (signal.aborted) throw cancelled();
        const end = Math.min(row + stripRows, height);
        const body = await source.read(i, row, end);
        await this.client.request("PUT", `${this.path}/exposures/${i}?row=${row}&rows=${end - row}`, { body, signal });
        onProgress((i + end / height) / names.length);
      }
    }
  }

  async uploadFile(index: number, data: Blob, signal?: AbortSignal): Promise<FileReport> {
    return this.client.json("PUT", `${this.path}/exposures/${index}`, { body: data, signal });
  }

  /** Exposure values from metadata or pixels; null for those not used. */
  exposureValues(
    use: readonly number[],
  ): Promise<{ readonly values: readonly (number | null)[]; readonly source: "exif" | "estimated" }> {
    return this.client.json("GET", `${this.path}/exposure-values?use=${use.join(",")}`);
  }

  /**
   * Merges and waits for the end; aborting stops the merge as well. Returns the finished job's report.
   * @throws PanelError with the job's error
   */
  async merge(
    settings: MergeSettings,
    onProgress: (stage: string, fraction: number) => void,
    signal: AbortSignal,
  ): Promise<JobReport> {
    if (signal.aborted) throw cancelled();
    this.result = undefined;
    await this.client.request("POST", `${this.path}/merge`, { json: settings });
    const stop = () => void this.client.request("POST", `${this.path}/cancel`).catch(() => {});
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    try {
      const watch = this.client.connection.streams ? this.follow(onProgress) : this.poll(onProgress);
      const report = await watch;
      if (report.state === "cancelled" && signal.aborted) throw cancelled();
      if (report.state === "cancelled")
        throw new PanelError("NO_SERVICE", `The service ended the merge. ${HOW_TO_START}`);
      if (!report.result) throw new PanelError(report.error?.code ?? "INTERNAL", report.error?.message ?? "It failed.");
      this.result = report.result;
      return report;
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  async remove(): Promise<void> {
    await this.client.request("DELETE", this.path).catch(() => {}); // gone already, or with the service
  }

  private async poll(onProgress: (stage: string, fraction: number) => void): Promise<JobReport> {
    for (;;) {
      const report = await this.client.json<JobReport>("GET", this.path);
      if (report.state !== "waiting" && report.state !== "merging") return report;
      if (report.progress) onProgress(report.progress.stage, report.progress.fraction);
      await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    }
  }

  /** Reads the server-sent events to the last one. */
  private async follow(onProgress: (stage: string, fraction: number) => void): Promise<JobReport> {
    const response = await this.client.request("GET", `${this.path}/events`, { accept: "text/event-stream" });
    const reader = response.body?.getReader();
    if (!reader) return this.poll(onProgress);
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
      if (done) throw new PanelError("NO_SERVICE", HOW_TO_START);
      text += decoder.decode(value, { stream: true });
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const { event, data } = parseEvent(text.slice(0, end));
        text = text.slice(end + 2);
        if (event === "progress") {
          const { stage, fraction } = data as { stage: string; fraction: number };
          onProgress(stage, fraction);
        } else if (event === "done" || event === "failed" || event === "cancelled") {
          return data as JobReport;
        }
      }
    }
  }
}

function parseEvent(block: string): { event: string | undefined; data: unknown } {
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
  return { event: field("event"), data: JSON.parse(field("data") ?? "null") };
}
