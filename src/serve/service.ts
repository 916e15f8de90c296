import { randomBytes } from "node:crypto";
import { type FastifyError, type FastifyInstance, fastify } from "fastify";
import { SmhdrError } from "../errors.js";
import { describeError, ServiceError } from "./errors.js";
import { checkHost, checkOrigin, checkToken, type Guard } from "./guard.js";
import { defaultLimits, JobStore, type Limits } from "./job-store.js";
import { Models } from "./models.js";
import { addPanel } from "./panel.js";
import { addRoutes } from "./routes.js";
import { DEFAULT_PORTS, findRunningService, removeStartFile, startFilePath, writeStartFile } from "./start-file.js";
import { addValidation, BODY_LIMIT, inOurWords } from "./validation.js";

export interface ServiceOptions {
  readonly version: string;
  /** Undefined: the first free one of DEFAULT_PORTS; 0: any. */
  readonly port?: number | undefined;
  readonly startFile?: string | undefined;
  /** Origins besides its own whose pages may ask. */
  readonly allowedOrigins?: readonly string[] | undefined;
  /** Models besides the shipped ones. */
  readonly modelFiles?: readonly string[] | undefined;
  readonly threads?: number | undefined;
  readonly limits?: Partial<Limits> | undefined;
}

export interface Service {
  readonly port: number;
  readonly token: string;
  readonly startFile: string;
  /** Stops merges, ends streams, frees everything and removes the start file. */
  close(): Promise<void>;
}

/** The part of the memory that one merge may take for itself; the jobs' pixels are the rest. */
const MERGE_SHARE = 1 / 2;

/**
 * Starts the loopback service of docs/service.md.
 * @throws SmhdrError IO where the port is taken, another service of this user runs, or the start file cannot be written; as
 * Models.load does.
 */
export async function startService(options: ServiceOptions): Promise<Service> {
  const { version, allowedOrigins = [], modelFiles = [], threads, startFile = startFilePath() } = options;
  const running = await findRunningService(startFile);
  if (running) {
    throw new SmhdrError(
      "IO",
      `smhdr serve runs already, as process ${running.pid} on port ${running.port}: use that one, or stop it first.`,
    );
  }
  const models = await Models.load(modelFiles);
  const token = randomBytes(32).toString("base64url");
  const limits = { ...defaultLimits, ...options.limits };
  const store = new JobStore(limits);
  const guard = { port: 0, token, allowedOrigins };
  let stopping = false;
  const app = makeApp(guard, () => stopping);
  app.register(
    async (v1) => {
      v1.addHook("onRequest", async ({ headers, method }) => {
        if (method !== "OPTIONS") checkToken(guard, headers);
      });
      addRoutes(v1, { version, store, models, memory: limits.memory * MERGE_SHARE, threads });
    },
    { prefix: "/v1" },
  );
  addPanel(app);

  const removeFile = () => removeStartFile(startFile, token);
  try {
    guard.port = await listen(app, options.port);
    process.on("exit", removeFile); // the second Ctrl-C leaves at once
    await writeStartFile(startFile, { port: guard.port, token, pid: process.pid, version });
  } catch (error) {
    process.off("exit", removeFile);
    await store.close();
    await app.close();
    throw error;
  }
  return {
    port: guard.port,
    token,
    startFile,
    async close() {
      stopping = true;
      removeFile();
      process.off("exit", removeFile);
      await store.close();
      await app.close();
    },
  };
}

/** The HTTP server with what holds for every route: who may ask, how errors are told, what browsers may do. */
function makeApp(guard: Guard, isStopping: () => boolean): FastifyInstance {
  const app = fastify({
    bodyLimit: BODY_LIMIT,
    forceCloseConnections: true,
    requestTimeout: 0, // a large picture over a slow pipe
    return503OnClosing: false,
    exposeHeadRoutes: false,
  });
  addValidation(app);

  app.addHook("onRequest", async (request, reply) => {
    const { headers, method } = request;
    reply.headers({
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
    });
    checkHost(guard, headers);
    if (isStopping()) throw new ServiceError("STOPPING", "The service is shutting down.");
    if (!request.url.startsWith("/v1/")) return;
    checkOrigin(guard, headers);
    if (headers.origin !== undefined) {
      reply.headers({
        "access-control-allow-origin": headers.origin,
        "access-control-expose-headers": "smhdr-width, smhdr-height",
        "cross-origin-resource-policy": "cross-origin",
        vary: "origin",
      });
    }
    if (method === "OPTIONS" && headers.origin !== undefined) {
      return reply
        .headers({
          "access-control-allow-methods": "GET, POST, PUT, DELETE",
          "access-control-allow-headers": "authorization, content-type",
          "access-control-allow-private-network": "true",
          "access-control-max-age": "600",
        })
        .code(204)
        .send();
    }
  });
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const { status, report } = describeError(inOurWords(error, request));
    if (status === 429) reply.header("retry-after", "30");
    return reply.code(status).send({ error: report });
  });
  app.setNotFoundHandler((request) => {
    throw new ServiceError("NOT_FOUND", `There is no ${request.method} ${request.url.split("?")[0]} here.`);
  });
  return app;
}

async function listen(app: FastifyInstance, wanted: number | undefined): Promise<number> {
  const ports = wanted === undefined ? DEFAULT_PORTS : [wanted];
  for (const [i, port] of ports.entries()) {
    try {
      await app.listen({ host: "127.0.0.1", port });
      const address = app.server.address();
      return typeof address === "object" && address ? address.port : port;
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      if (code === "EADDRINUSE" && i + 1 < ports.length) continue;
      const taken = ports.length > 1 ? `The ports ${ports[0]} to ${ports.at(-1)} are` : `Port ${port} is`;
      const why =
        code === "EADDRINUSE"
          ? `${taken} taken by another program: choose one with --port.`
          : `127.0.0.1:${port}: ${message}.`;
      throw new SmhdrError("IO", why, { cause });
    }
  }
  throw new SmhdrError("INTERNAL", "No port was tried.");
}
