// npm start: from a fresh clone to a merged picture. Sets everything up, merges the example bracket into out/ and
// measures the result against the truth that the example was rendered from.
import { mkdirSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { root, run } from "./build-addon.mjs";
import { setUp } from "./setup.mjs";

const example = join("examples", "bracket");
/** Name below out/, and how to merge. */
const ways = [
  ["bracket", []],
  ["bracket-radiance", ["--method", "radiance"]],
];

function mergeExample(images, name, options) {
  mkdirSync(join(root, "out"), { recursive: true });
  const [result, preview] = [".exr", ".jpg"].map((ending) => join("out", name + ending));
  const args = ["merge", ...images, ...options, "-o", result, "-o", preview];
  console.log(`> smhdr ${args.join(" ")}`);
  const smhdr = join(root, "dist", "cli", "smhdr.js");
  if (!run(process.execPath, [smhdr, ...args], { stdio: ["inherit", "ignore", "inherit"] })) {
    throw new Error("The merge failed: see above.");
  }
  return { result, preview };
}

const built = (path) => import(pathToFileURL(join(root, "dist", path)).href);

/** PSNR in dB against the truth: of linear radiance in [0, 1], and after the mu-law. */
async function measure(result, truthPath) {
  const { readRadiance } = await built("codec/read-radiance.js");
  const { psnr } = await built("measure/psnr.js");
  const { muLaw } = await built("measure/mu-law.js");
  const [merged, truth] = await Promise.all([result, truthPath].map((path) => readRadiance(join(root, path))));
  const [a, b] = [merged, truth].map(({ data }) => data.map((value) => Math.min(1, Math.max(0, value))));
  return { linear: psnr(a, b), mu: psnr(a, b, muLaw) };
}

try {
  await setUp();
  const names = readdirSync(join(root, example)).sort();
  const images = names.filter((name) => /^exposure-\d+\./.test(name)).map((name) => join(example, name));
  const truth = names.find((name) => /^truth\.(exr|hdr)$/.test(name));
  for (const [name, options] of ways) {
    const { result, preview } = mergeExample(images, name, options);
    console.log(`\nResult:   ${relative(process.cwd(), join(root, result))}  (OpenEXR, linear light)`);
    console.log(`Preview:  ${relative(process.cwd(), join(root, preview))}  (tone-mapped)`);
    if (!truth) continue;
    const { linear, mu } = await measure(result, join(example, truth));
    console.log(`PSNR-mu ${mu.toFixed(2)} dB, PSNR-l ${linear.toFixed(2)} dB against ${join(example, truth)}\n`);
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
