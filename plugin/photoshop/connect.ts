// biome-ignore lint/style/useNodejsImportProtocol: UXP's module, which has only this name
import { readFile } from "fs";
// biome-ignore lint/style/useNodejsImportProtocol: the same
import { homedir, platform } from "os";
import { type Connection, HOW_TO_START, PanelError } from "../panel/client.js";

/** The ports whose origins manifest.json names: Photoshop lets the plug-in ask no others. */
export const PORTS: readonly number[] = [27180, 27181, 27182, 27183, 27184];
const ENTERED = "smhdr address";

/** Where the service's start file lies; docs/service.md. */
export function startFileAddress(home = homedir(), system = platform()): string {
  const folder = system === "win32" ? "AppData/Local" : "Library/Application Support";
  const path = `${home.replaceAll("\\", "/")}/${folder}/smhdr/service.json`;
  return path.startsWith("/") ? `file:${path}` : `file:/${path}`;
}

/** Reads the start file; an address that was entered by hand takes its place. Throws a PanelError that says what to do. */
export async function connect(): Promise<Connection> {
  const entered = localStorage.getItem(ENTERED);
  const { port, token } = (entered && parseAddress(entered)) || (await readStartFile());
  if (!PORTS.includes(port)) {
    throw new PanelError(
      "UNSUPPORTED",
      `The service listens on port ${port}, where Photoshop may not reach it. Start it without --port, or with one from ${PORTS[0]} to ${PORTS.at(-1)}.`,
    );
  }
  return { origin: `http://127.0.0.1:${port}`, token, streams: false };
}

/** Remembers the address that `smhdr serve` printed; an empty text forgets it. Throws a PanelError for anything else. */
export function enterAddress(text: string): void {
  const address = text.trim();
  if (address === "") localStorage.removeItem(ENTERED);
  else if (parseAddress(address)) localStorage.setItem(ENTERED, address);
  else throw new PanelError("INVALID_ARGUMENT", "Expected the whole address that smhdr serve printed, with #token=...");
}

function parseAddress(text: string): { readonly port: number; readonly token: string } | undefined {
  const match = /^http:\/\/127\.0\.0\.1:(\d+)\/?#token=([\w-]+)$/.exec(text);
  return match ? { port: Number(match[1]), token: match[2] } : undefined;
}

async function readStartFile(): Promise<{ readonly port: number; readonly token: string }> {
  try {
    const { port, token } = JSON.parse(await readFile(startFileAddress(), { encoding: "utf-8" }));
    if (Number.isInteger(port) && typeof token === "string") return { port, token };
  } catch {
    // not there: the service does not run
  }
  throw new PanelError("NO_SERVICE", HOW_TO_START);
}
