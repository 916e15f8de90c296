// Draws the pictures of the panel in docs/: the real panel and service, in Chromium, on the example bracket that the repository renders.
//   npx tsx scripts/make-panel-pictures.ts
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { launch } from "../test/e2e/chromium.js";
import { TestService } from "../test/serve/client.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const photographs = [1, 2, 3].map((i) => join(root, "examples", "bracket", `exposure-${i}.jpg`));
const pictures = [
  { file: "panel-browser.jpg", width: 1280, height: 760, colorScheme: "light", ghosts: false },
  { file: "panel-ghosts.jpg", width: 1280, height: 760, colorScheme: "dark", ghosts: true },
] as const;

const service = await TestService.start();
const browser = await launch();
for (const { file, width, height, colorScheme, ghosts } of pictures) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme });
  await page.goto(`${service.origin}/#token=${service.service.token}`);
  await page.setInputFiles("input[type=file]", photographs);
  await page.getByText("from EXIF").nth(2).waitFor();
  await page.getByRole("button", { name: "Merge", exact: true }).click();
  await page.getByText(/^Merged \d+ x \d+ pixels/).waitFor({ timeout: 120_000 });
  if (ghosts) await page.getByLabel("Mark ghosts").check();
  await page.waitForTimeout(1500);
  const png = await page.screenshot({ fullPage: true });
  await sharp(png)
    .jpeg({ quality: 85 })
    .toFile(join(root, "docs", file));
  console.log(`docs/${file}`);
  await page.close();
}
await browser.close();
await service.close();
