/** Merges photographs of one scene: npx tsx examples/merge.ts a.jpg b.jpg c.jpg out.exr */
import { Reconstructor, readBracket, writeImage } from "smhdr";

const files = process.argv.slice(2);
const output = files.pop();
if (!output || files.length < 2) {
  console.error("usage: merge.ts PHOTOGRAPH PHOTOGRAPH... OUTPUT (.exr, .hdr, .tif, .png or .jpg)");
  process.exit(2);
}

const bracket = await readBracket(files);
try {
  for (const { name, exposureValue } of bracket.exposures) console.log(`${name}: ${exposureValue.toFixed(2)} EV`);
  for (const note of bracket.notes) console.log(note.message);
  const reconstructor = await Reconstructor.load();
  const radiance = await reconstructor.run(bracket);
  await writeImage(radiance, output);
  console.log(`${output}: ${radiance.width} x ${radiance.height}, ${radiance.metadata.method}`);
} finally {
  bracket.close();
}
