import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { FastifyInstance } from "fastify";
import { ServiceError } from "./errors.js";

/** The panel as `npm run build` leaves it. */
const folder = fileURLToPath(new URL("../../dist/panel/", import.meta.url));

const pages: Readonly<Record<string, readonly [file: string, type: string]>> = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/panel.js": ["panel.js", "text/javascript; charset=utf-8"],
  "/panel.css": ["panel.css", "text/css; charset=utf-8"],
  "/icon.svg": ["icon.svg", "image/svg+xml"],
};

/** Nothing from elsewhere, no inline script, in nobody's frame. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Serves the panel to a browser. It holds no secret: the token is in the part of the address that is not sent. */
export function addPanel(app: FastifyInstance): void {
  for (const [path, [file, type]] of Object.entries(pages)) {
    app.get(path, async (_request, reply) => {
      const source = join(folder, file);
      if (!existsSync(source)) throw new ServiceError("NOT_FOUND", "The panel is not built: npm run build.");
      return reply
        .type(type)
        .header("content-security-policy", POLICY)
        .send(await readFile(source));
    });
  }
}
