import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";

/** Why tests of the queue cannot run here; false where they can. */
export const withoutRedis: string | false =
  spawnSync("redis-server", ["--version"]).status !== 0 &&
  "redis-server is not installed (Debian: apt install redis-server)";

export interface RunningRedis {
  readonly url: string;
  stop(): Promise<void>;
}

/** A Redis of the test's own, on a free port and with nothing kept on the disk. */
export async function startRedis(): Promise<RunningRedis> {
  const folder = await mkdtemp(join(tmpdir(), "smhdr-redis-"));
  const port = await freePort();
  const child = spawn("redis-server", ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", folder], {
    stdio: "ignore",
  });
  await answers(child, port);
  return {
    url: `redis://127.0.0.1:${port}`,
    async stop() {
      child.kill();
      await once(child, "exit");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

async function answers(child: ChildProcess, port: number): Promise<void> {
  const redis = new Redis({ host: "127.0.0.1", port, retryStrategy: () => 50 });
  redis.on("error", () => {}); // until it is there
  try {
    await Promise.race([redis.ping(), once(child, "exit").then(() => Promise.reject(new Error("redis-server ended")))]);
  } finally {
    redis.disconnect();
  }
}
