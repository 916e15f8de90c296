import type { Redis } from "ioredis";
import { SmhdrError } from "../../errors.js";

/** The queue's name, and what its keys in Redis begin with. */
export const QUEUE = "brackets";
export const PREFIX = "smhdr";

/** Where Redis is, as ioredis takes it. */
interface Address {
  readonly host: string;
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
  readonly db?: number;
  readonly tls?: object;
}

export interface QueuePackages {
  readonly bullmq: typeof import("bullmq");
  readonly connection: Address & { readonly maxRetriesPerRequest: null };
  /** A connection for keys of our own. */
  readonly redis: Redis;
}

/** Milliseconds to wait for the first answer. */
const PATIENCE = 5000;

/**
 * Loads what queues need and reaches Redis. `url` is redis://[[user]:password@]host[:port][/database], or rediss:// for TLS.
 * @throws SmhdrError INVALID_ARGUMENT for another kind of address, UNSUPPORTED where bullmq or ioredis is not installed, IO
 * where nothing answers.
 */
export async function connectQueue(url: string): Promise<QueuePackages> {
  const connection = { ...parseAddress(url), maxRetriesPerRequest: null };
  const packages = await Promise.all([import("bullmq"), import("ioredis")]).catch((cause) => {
    const what = "queues need the packages bullmq and ioredis, which are not installed: npm install bullmq ioredis";
    throw new SmhdrError("UNSUPPORTED", `queue: ${what}.`, { cause });
  });
  const [bullmq, ioredis] = packages;
  const probe = new ioredis.Redis({
    ...connection,
    lazyConnect: true,
    connectTimeout: PATIENCE,
    retryStrategy: () => null,
  });
  let why = "";
  probe.on("error", (error: Error) => {
    why = error.message;
  });
  try {
    await probe.connect();
    await probe.ping();
  } catch (cause) {
    const where = `${connection.host}:${connection.port}`;
    throw new SmhdrError(
      "IO",
      `queue: no Redis answers at ${where} (${why || (cause as Error).message}). Start it, or correct --queue.`,
      {
        cause,
      },
    );
  } finally {
    probe.disconnect();
  }
  const redis = new ioredis.Redis(connection);
  redis.on("error", () => {}); // it connects again; the queue's own connections tell
  return { bullmq, connection, redis };
}

function parseAddress(text: string): Address {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^rediss?:$/.test(url.protocol) || url.hostname === "" || !/^\/?\d*$/.test(url.pathname)) {
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `queue: expected redis://host:port, possibly with user, password and database; got "${text}".`,
    );
  }
  return {
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(url.port || 6379),
    ...(url.username && { username: decodeURIComponent(url.username) }),
    ...(url.password && { password: decodeURIComponent(url.password) }),
    ...(url.pathname.length > 1 && { db: Number(url.pathname.slice(1)) }),
    ...(url.protocol === "rediss:" && { tls: {} }),
  };
}

/** The key that, while it is there, asks the worker of a job to stop. */
export const cancelKey = (jobId: string) => `${PREFIX}:cancel:${jobId}`;
