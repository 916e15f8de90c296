import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The built panel is what is tested: one older than its sources would prove nothing. */
export function checkBuilt(folder: "panel" | "photoshop"): void {
  const built = join(root, "dist", folder);
  const sources = ["panel", folder === "panel" ? "browser" : folder].flatMap((room) => {
    const from = join(root, "plugin", room);
    return readdirSync(from).map((name) => statSync(join(from, name)).mtimeMs);
  });
  const oldest = existsSync(built)
    ? Math.min(...readdirSync(built).map((name) => statSync(join(built, name)).mtimeMs))
    : 0;
  if (Math.max(...sources) > oldest) throw new Error(`dist/${folder} is older than plugin: npm run build`);
}
