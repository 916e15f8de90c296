import { PanelError, ServiceClient } from "./client.js";
import { Exposures, type Row } from "./exposures.js";
import type { HostAdapter, ImageFile } from "./host.js";
import type { ResultReport } from "./job.js";
import { Upload } from "./upload.js";

export interface Choices {
  method: "radiance" | "network";
  model: string | null;
  align: "auto" | "none";
  precision: "auto" | "fp32" | "bf16";
  delivery: string;
}

export interface Shown {
  /** Stops brighter than the reference. */
  exposure: number;
  ghosts: boolean;
  /** The photograph that is the reference instead of the result. */
  before: boolean;
}

export interface Work {
  readonly what: string;
  /** Undefined while nobody knows. */
  readonly fraction: number | undefined;
}

/** Longest side of the quick preview and of what is shown. */
export const PREVIEW_SIZE = 1024;
const KEEP_ALIVE = 60_000;
const STAGES: Readonly<Record<string, string>> = {
  waiting: "Waiting for another merge",
  reading: "Reading",
  aligning: "Aligning",
  merging: "Merging",
};

/** What the panel knows and does, without a document: views show it and call it. */
export class Session {
  client: ServiceClient | undefined;
  connectionProblem: string | undefined;
  models: readonly { readonly name: string; readonly exposures: readonly number[] }[] = [];
  title = "";
  hint = "";
  readonly exposures = new Exposures();
  readonly choices: Choices;
  readonly shown: Shown = { exposure: 0, ghosts: false, before: false };
  work: Work | undefined;
  error: string | undefined;
  message: string | undefined;
  notes: readonly string[] = [];
  result: { readonly report: ResultReport; readonly preview: boolean } | undefined;
  /** Counts results, so that views know a new one. */
  version = 0;

  private readonly upload: Upload;
  private controller: AbortController | undefined;
  private readonly listeners: (() => void)[] = [];

  constructor(readonly host: HostAdapter) {
    const delivery = host.deliveries[0]?.id ?? "";
    this.choices = { method: "radiance", model: null, align: "auto", precision: "auto", delivery };
    this.upload = new Upload(host, this.exposures, (what, fraction) => this.progress(what, fraction));
    host.onChange(() => void this.refresh());
    setInterval(() => {
      if (!this.work) void this.upload.isAlive().catch(() => {});
    }, KEEP_ALIVE);
  }

  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  changed(): void {
    for (const listener of this.listeners) listener();
  }

  /** Finds the service and what it offers. */
  async connect(): Promise<void> {
    this.connectionProblem = undefined;
    this.changed();
    try {
      const client = new ServiceClient(await this.host.connect());
      const found = await client.json<{ default: string | null; models: Session["models"] }>("GET", "/models");
      this.client = client;
      this.models = found.models;
      this.choices.model ??= found.default;
    } catch (error) {
      this.client = undefined;
      this.connectionProblem = messageOf(error);
    }
    this.changed();
    await this.refresh();
  }

  /** Reads the host's list, and the small pictures. */
  async refresh(): Promise<void> {
    try {
      const { title, items, hint } = await this.host.list();
      this.title = title;
      this.hint = hint;
      this.exposures.replace(items, this.host.addFiles !== undefined);
      this.error = undefined;
    } catch (error) {
      this.error = messageOf(error);
    }
    this.changed();
    if (this.host.thumbnail) await this.readThumbnails();
    else await this.sendNewFiles();
  }

  /** The row that is the reference of the last result. */
  get referenceRow(): Row | undefined {
    return this.result && this.upload.rows[this.result.report.reference];
  }

  /** Asks the service for exposure values instead of those shown. */
  estimate(): Promise<void> {
    return this.run("Estimating", async (client, signal) => {
      const rows = this.exposures.checked(this.host.words.many);
      const job = await this.upload.jobFor(client, rows, PREVIEW_SIZE, signal);
      const { values, source } = await job.exposureValues(rows.map((row) => this.upload.indexOf(row)));
      this.exposures.takeValues(this.upload.rows, values, source);
    });
  }

  preview(): Promise<void> {
    return this.merge(PREVIEW_SIZE);
  }

  /** The whole merge, and its delivery where that follows at once. */
  async mergeAll(): Promise<void> {
    await this.merge(undefined);
    if (this.host.deliver === "at once" && this.result && !this.result.preview)
      await this.deliver(this.choices.delivery);
  }

  deliver(id: string): Promise<void> {
    return this.run("Writing", async (_client, signal) => {
      const delivery = this.host.deliveries.find((candidate) => candidate.id === id);
      const { job } = this.upload;
      if (!delivery || !job) return;
      this.message = await delivery.deliver(job, (fraction) => this.progress("Writing", fraction), signal);
    });
  }

  cancel(): void {
    this.controller?.abort();
  }

  /** The picture to show now; undefined where there is none. */
  async picture(): Promise<ImageFile | undefined> {
    const { result, shown } = this;
    const { job } = this.upload;
    if (!job || !result) return undefined;
    const { exposure, ghosts, before } = shown;
    if (before) {
      const path = `${job.path}/exposures/${result.report.reference}/thumbnail?size=${PREVIEW_SIZE}`;
      return { type: "image/png", data: await job.client.bytes(path) };
    }
    const query = `exposure=${exposure}&ghosts=${ghosts}&size=${PREVIEW_SIZE}`;
    return { type: "image/jpeg", data: await job.client.bytes(`${job.path}/view?${query}`, { accept: "image/jpeg" }) };
  }

  /** Frees what the service holds for this panel. */
  async close(): Promise<void> {
    this.cancel();
    await this.upload.remove();
  }

  private merge(size: number | undefined): Promise<void> {
    return this.run(size === undefined ? "Merging" : "Preview", async (client, signal) => {
      const rows = this.exposures.checked(this.host.words.many);
      const values = this.exposures.givenValues(rows);
      this.result = undefined;
      const job = await this.upload.jobFor(client, rows, size, signal);
      const { method, model, align, precision } = this.choices;
      const network = method === "network";
      const reference = rows.find(({ id }) => id === this.exposures.reference);
      const report = await job.merge(
        {
          use: rows.map((row) => this.upload.indexOf(row)),
          // Exposures that are not used need a number too; one that is there does not widen the range.
          ev: values ? this.upload.rows.map((row) => values.get(row) ?? (values.get(rows[0]) as number)) : null,
          reference: reference ? this.upload.indexOf(reference) : null,
          method,
          model: network ? model : null,
          precision: network ? precision : "auto",
          align,
          ...(size === undefined ? {} : { size }),
        },
        (stage, fraction) => this.progress(STAGES[stage] ?? stage, fraction),
        signal,
      );
      this.takeResult(job.result as ResultReport, report.notes, size !== undefined);
    });
  }

  private takeResult(report: ResultReport, notes: readonly { readonly message: string }[], preview: boolean): void {
    this.notes = notes.map(({ message }) => message);
    this.result = { report, preview };
    this.version++;
    const { ev, evSource, width, height, seconds } = report;
    if (evSource !== "given") this.exposures.takeValues(this.upload.rows, ev, evSource);
    this.message = preview
      ? `This is a preview of ${width} x ${height} pixels.`
      : `Merged ${width} x ${height} pixels in ${seconds.toFixed(1)} s.`;
  }

  private async sendNewFiles(): Promise<void> {
    if (!this.client || this.controller || this.exposures.rows.every((row) => this.upload.indexOf(row) >= 0)) return;
    this.result = undefined;
    await this.run("Reading", (client, signal) => this.upload.sendFiles(client, signal));
  }

  private async readThumbnails(): Promise<void> {
    for (const row of this.exposures.rows) {
      if (row.problem || row.thumbnail) continue;
      const file = await this.host.thumbnail?.(row.id).catch(() => undefined);
      if (!file) continue;
      row.thumbnail = this.host.imageAddress(file);
      this.changed();
    }
  }

  private progress(what: string, fraction: number | undefined): void {
    this.work = { what, fraction };
    this.changed();
  }

  /** Runs one piece of work; another one is not begun meanwhile. */
  private async run(what: string, work: (client: ServiceClient, signal: AbortSignal) => Promise<void>): Promise<void> {
    if (this.controller || !this.client) return;
    const controller = new AbortController();
    this.controller = controller;
    this.error = undefined;
    this.message = undefined;
    this.progress(what, undefined);
    try {
      await work(this.client, controller.signal);
    } catch (error) {
      this.fail(error);
    }
    this.controller = undefined;
    this.work = undefined;
    this.changed();
    if (!this.error && this.host.addFiles) await this.sendNewFiles(); // dropped meanwhile
  }

  private fail(error: unknown): void {
    const code = error instanceof PanelError ? error.code : "INTERNAL";
    if (code === "CANCELLED") {
      this.message = "Cancelled. Nothing was changed.";
    } else if (code === "NO_SERVICE" || code === "UNAUTHORIZED") {
      this.client = undefined;
      this.connectionProblem = messageOf(error);
      this.upload.forget();
      this.result = undefined;
    } else {
      this.error = messageOf(error);
    }
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
