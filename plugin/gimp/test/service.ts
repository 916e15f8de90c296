import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Running, start } from "../../../test/cli/process.js";
import type { Gimp } from "./gimp-chroot.js";

/** The real service, which GIMP finds; as the test sees it whatever a case does to the start file. */
export interface Service extends Running {
  jobs(): Promise<{ state: string }[]>;
}

export async function startService(gimp: Gimp, t: TestContext): Promise<Service> {
  const file = join(gimp.folder, "service.json");
  const service = start(["serve", "--port", "0"], { env: { SMHDR_SERVICE_FILE: file } });
  t.after(() => service.process.kill("SIGKILL"));
  while (!existsSync(file)) {
    assert.equal(service.process.exitCode, null, "smhdr serve ended");
    await sleep(50);
  }
  const { port, token } = JSON.parse(readFileSync(file, "utf8"));
  const headers = { authorization: `Bearer ${token}` };
  const jobs = async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/jobs`, { headers });
    return ((await answer.json()) as { jobs: { state: string }[] }).jobs;
  };
  return { ...service, jobs };
}
