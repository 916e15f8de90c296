import { readFileSync, unlinkSync } from "node:fs";
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { SmhdrError } from "../errors.js";
import { temporaryName } from "../output/replace-file.js";

/** Tried one after the other; plug-ins that must name their origins name these. */
export const DEFAULT_PORTS: readonly number[] = [27180, 27181, 27182, 27183, 27184];

/** What a panel on this machine needs to find the service. */
export interface StartFile {
  readonly port: number;
  readonly token: string;
  readonly pid: number;
  readonly version: string;
}

/** Where the start file lies; docs/service.md promises these paths. */
export function startFilePath(
  environment: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
  home = homedir(),
): string {
  if (environment.SMHDR_SERVICE_FILE) return environment.SMHDR_SERVICE_FILE;
  if (platform === "win32") {
    return join(environment.LOCALAPPDATA || join(home, "AppData", "Local"), "smhdr", "service.json");
  }
  if (platform === "darwin") return join(home, "Library", "Application Support", "smhdr", "service.json");
  return join(environment.XDG_STATE_HOME || join(home, ".local", "state"), "smhdr", "service.json");
}

/** Writes the start file, for its user's eyes only, complete or not at all. Throws SmhdrError IO. */
export async function writeStartFile(path: string, content: StartFile): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(temporary, `${JSON.stringify(content)}\n`, { mode: 0o600, flag: "wx" });
    await chmod(temporary, 0o600); // whatever the umask
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new SmhdrError("IO", `The start file ${path} cannot be written (${(cause as Error).message}).`, { cause });
  }
}

/** Removes the start file if it is still the one of this token. Synchronous: it is the last thing a process does. */
export function removeStartFile(path: string, token: string): void {
  try {
    if (parse(readFileSync(path, "utf8"))?.token === token) unlinkSync(path);
  } catch {
    // already gone
  }
}

/** The service that the start file tells of, if it answers; a stale file is nobody. */
export async function findRunningService(path: string): Promise<StartFile | undefined> {
  const content = parse(await readFile(path, "utf8").catch(() => ""));
  if (!content) return undefined;
  try {
    const response = await fetch(`http://127.0.0.1:${content.port}/v1/status`, {
      headers: { authorization: `Bearer ${content.token}` },
      signal: AbortSignal.timeout(2000),
    });
    await response.body?.cancel();
    return response.ok ? content : undefined;
  } catch {
    return undefined;
  }
}

function parse(text: string): StartFile | undefined {
  try {
    const { port, token, pid, version } = JSON.parse(text) as Partial<StartFile>;
    if (!Number.isInteger(port) || typeof token !== "string") return undefined;
    return { port: port as number, token, pid: Number(pid), version: String(version) };
  } catch {
    return undefined;
  }
}
