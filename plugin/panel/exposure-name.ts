/** Decimal or fraction, signed by any dash. */
const NUMBER = "([+\\-\\u2212\\u2013]?\\d+(?:[.,]\\d+|\\s*/\\s*\\d+)?)";
const patterns = [
  new RegExp(`${NUMBER}\\s*(?:ev|stops?)(?![a-z])`, "i"),
  new RegExp(`(?:^|[^a-z])ev\\s*[=:]?\\s*${NUMBER}`, "i"),
];

/** The exposure value that a name states, such as "-2EV", "+1.3 EV", "EV -2/3" or "1 stop"; undefined where it states none. */
export function exposureValueFromName(name: string): number | undefined {
  for (const pattern of patterns) {
    const text = pattern.exec(name)?.[1];
    if (text === undefined) continue;
    const [numerator, denominator = "1"] = text
      .replace(/[\u2212\u2013]/, "-")
      .replace(",", ".")
      .split("/");
    const value = Number(numerator) / Number(denominator);
    if (Number.isFinite(value) && Math.abs(value) <= 20) return value;
  }
  return undefined;
}
