import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const path = [
  process.env.SMHDR_CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((candidate) => candidate !== undefined && existsSync(candidate));

/** Why the browser's tests are skipped; false where there is a browser. */
export const noChromium: string | false = path
  ? false
  : "no Chromium found: apt-get install chromium, or name one in SMHDR_CHROMIUM";

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: path as string, args: FLAGS });
}
