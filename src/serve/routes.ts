import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { listDevices } from "../engine/devices.js";
import { Room } from "../room.js";
import { ServiceError } from "./errors.js";
import { streamEvents } from "./events.js";
import { FileExposure } from "./file-exposure.js";
import type { AnyJob, JobStore } from "./job-store.js";
import { referenceStops } from "./merge.js";
import type { Models } from "./models.js";
import { chooseFormat, FILE_TYPES, ROWS_TYPE, streamFile, streamRows } from "./result.js";
import { type JobRequest, jobSchema, type MergeRequest, mergeSchema } from "./settings.js";
import { ghostBytes, thumbnail, viewResult } from "./view.js";

export interface RouteOptions {
  readonly version: string;
  readonly store: JobStore;
  readonly models: Models;
  /** Bytes that one merge may take. */
  readonly memory: number;
  readonly threads: number | undefined;
}

type Of<T extends { body?: unknown; query?: unknown }> = {
  Params: { id: string; index: string };
  Body: T["body"];
  Querystring: T["query"];
};

const whole = { type: "integer", minimum: 0 };
const query = (properties: Record<string, object>) => ({
  querystring: { type: "object", additionalProperties: false, properties },
});
const indices = {
  type: "string",
  pattern: "^[0-9]+(,[0-9]+)+$",
  description: "two or more indices of exposures, such as 0,2",
};
const sizeField = { type: "integer", minimum: 16, maximum: 4096 };

/** The routes below /v1, as docs/service.md describes them. */
export function addRoutes(app: FastifyInstance, { version, store, models, memory, threads }: RouteOptions): void {
  app.addHook("onRoute", (route) => {
    route.schema = { ...query({}), ...route.schema }; // where none are named, none are taken
  });
  // One at a time each.
  const merges = new Room(1);
  const files = new Room(1);

  /** Runs a handler on the request's job, which does not expire meanwhile. */
  const withJob = async <T>(request: FastifyRequest, work: (job: AnyJob) => T | Promise<T>): Promise<T> => {
    const job = store.find((request.params as { id: string }).id);
    job.requests++;
    try {
      return await work(job);
    } finally {
      job.requests--;
      job.touched = performance.now();
    }
  };

  app.get("/status", () => {
    const { limits, all } = store;
    return { version, protocol: 1, jobs: all.length, limits };
  });
  app.get("/devices", async () => ({ devices: await listDevices() }));
  app.get("/models", () => ({ default: models.defaultName, models: models.list }));

  app.get("/jobs", () => ({ jobs: store.all.map((job) => job.report()) }));
  app.post<Of<{ body: JobRequest }>>("/jobs", { schema: { body: jobSchema } }, (request, reply) => {
    const { model } = request.body;
    if (model != null) models.resolve(model);
    return reply.code(201).send(store.create(request.body).report());
  });
  app.get("/jobs/:id", (request) => withJob(request, (job) => job.report()));
  app.delete("/jobs/:id", async (request, reply) => {
    await store.remove(store.find((request.params as { id: string }).id));
    return reply.code(204).send();
  });

  app.post<Of<{ body: MergeRequest | undefined }>>(
    "/jobs/:id/merge",
    { schema: { body: { anyOf: [mergeSchema, { type: "null" }] } } },
    (request, reply) =>
      withJob(request, (job) => {
        job.start(request.body ?? {}, merges, { models, memory, threads });
        return reply.code(202).send(job.report());
      }),
  );
  app.post("/jobs/:id/cancel", (request) =>
    withJob(request, async (job) => {
      await job.cancel();
      return job.report();
    }),
  );
  app.get("/jobs/:id/events", (request, reply) =>
    withJob(request, async (job) => {
      reply.hijack();
      await streamEvents(job, reply.raw, reply.getHeaders() as Record<string, string>);
    }),
  );

  app.get<Of<{ query: { use?: string } }>>(
    "/jobs/:id/exposure-values",
    { schema: query({ use: indices }) },
    (request) =>
      withJob(request, (job) => {
        const use = request.query.use?.split(",").map(Number) ?? null;
        return job.exposureValues(job.used({ use }));
      }),
  );
  app.get<Of<{ query: { size?: number } }>>(
    "/jobs/:id/exposures/:index/thumbnail",
    { schema: query({ size: sizeField }) },
    (request, reply) =>
      withJob(request, async (job) => {
        const exposure = job.exposure(Number(request.params.index));
        if (!exposure.complete) throw new ServiceError("CONFLICT", `${exposure.name}: ${exposure.missing}.`);
        return reply.type("image/png").send(await thumbnail(exposure, request.query.size ?? 256));
      }),
  );
  addUpload(app, store, withJob);

  app.get<
    Of<{ query: { format?: string; row?: number; rows?: number; white?: string; precision?: "half" | "float" } }>
  >(
    "/jobs/:id/result",
    {
      schema: query({
        format: { type: "string" },
        row: whole,
        rows: whole,
        white: { enum: ["shortest", "reference"] },
        precision: { enum: ["half", "float"] },
      }),
    },
    (request, reply) =>
      withJob(request, async (job) => {
        const { radiance, report } = job.result();
        const { row = 0, rows = radiance.height - row, white, precision = "half" } = request.query;
        const format = chooseFormat(request.headers.accept, request.query.format);
        if (format !== "rows") refuse(request.query, ["row", "rows", "white"], "for rows", `the format ${format}`);
        if (format !== "exr") refuse(request.query, ["precision"], "for exr", `the format ${format}`);
        if (format !== "rows") {
          const signal = abandoned(reply);
          const { stream, length } = await files.run(
            1,
            () => streamFile(radiance, format, { precision, signal }),
            signal,
          );
          return reply.type(FILE_TYPES[format]).header("content-length", length).send(stream);
        }
        if (rows < 1 || row + rows > radiance.height) {
          const range = `within 0 to ${radiance.height - 1}`;
          throw new ServiceError("INVALID_ARGUMENT", `row, rows: expected rows ${range}; got ${rows} from ${row}.`);
        }
        const scale = white === "reference" ? 2 ** referenceStops(report) : 1;
        return reply
          .type(ROWS_TYPE)
          .header("content-length", rows * radiance.width * 12)
          .headers({ "smhdr-width": radiance.width, "smhdr-height": rows })
          .send(streamRows(radiance, row, rows, scale));
      }),
  );
  app.get<Of<{ query: { exposure?: number; ghosts?: boolean; size?: number } }>>(
    "/jobs/:id/view",
    {
      schema: query({
        exposure: { type: "number", minimum: -20, maximum: 20 },
        ghosts: { type: "boolean" },
        size: sizeField,
      }),
    },
    (request, reply) =>
      withJob(request, async (job) => {
        const { exposure = 0, ghosts = false, size = 800 } = request.query;
        const format = request.headers.accept?.includes("image/png") ? "png" : "jpeg";
        return reply.type(`image/${format}`).send(await viewResult(job.result(), { exposure, ghosts, size, format }));
      }),
  );
  app.get<Of<{ query: { size?: number } }>>(
    "/jobs/:id/ghosts",
    { schema: query({ size: sizeField }) },
    (request, reply) =>
      withJob(request, (job) => {
        const { width, height, data } = ghostBytes(job.result(), request.query.size ?? 1024);
        return reply.type(ROWS_TYPE).headers({ "smhdr-width": width, "smhdr-height": height }).send(Buffer.from(data));
      }),
  );
}

type WithJob = <T>(request: FastifyRequest, work: (job: AnyJob) => T | Promise<T>) => Promise<T>;

/** The one route whose body is read as it comes, whatever its type. */
function addUpload(app: FastifyInstance, store: JobStore, withJob: WithJob): void {
  app.register(async (uploads) => {
    uploads.removeAllContentTypeParsers();
    uploads.addContentTypeParser("*", (_request, body, done) => done(null, body));
    uploads.put<Of<{ query: { row?: number; rows?: number; alpha?: "refuse" | "flatten" } }>>(
      "/jobs/:id/exposures/:index",
      { schema: query({ row: whole, rows: whole, alpha: { enum: ["refuse", "flatten"] } }) },
      (request, reply) =>
        withJob(request, async (job) => {
          const exposure = job.exposure(Number(request.params.index));
          job.checkIdle();
          const { row = 0, rows, alpha = "refuse" } = request.query;
          // A refusal must not break the connection under a client that is still writing.
          const body = request.raw.iterator({ destroyOnReturn: false });
          if (exposure instanceof FileExposure) {
            refuse(request.query, ["row", "rows"], "for a job of raw rows", "one of files");
            return exposure.receive(body, alpha, (header) => store.admitFile(job, header));
          }
          refuse(request.query, ["alpha"], "for a job of files", "one of raw rows");
          const length = request.headers["content-length"];
          const count = rows ?? (job.height ?? 0) - row;
          await exposure.receive(body, row, count, length === undefined ? undefined : Number(length));
          return reply.code(204).send();
        }),
    );
  });
}

/** Refuses those parameters of a query that mean nothing here. */
function refuse<Q extends object>(query: Q, names: readonly (keyof Q & string)[], where: string, here: string): void {
  const given = names.find((name) => query[name] !== undefined);
  if (given === undefined) return;
  throw new ServiceError("INVALID_ARGUMENT", `${given}: expected only ${where}; got it with ${here}.`);
}

/** Fires when the client has gone away before the answer. */
function abandoned(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  // The reply's, not the socket's: many requests come on one.
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
