import type { Row } from "./row.js";
import { markdownTable } from "./table.js";

/** What a run of the benchmark came to. */
export interface Measured {
  readonly rows: readonly Row[];
  readonly machine: string;
  /** Who did not take part, and why. */
  readonly notes: readonly string[];
  readonly command: string;
}

/**
 * Puts rows into a Markdown document: between <!-- bench NAME --> and <!-- /bench --> the rows whose names begin with
 * NAME, in a table under the command and the machine. Places that no row is for stay as they are. `homeless` are rows
 * without a place.
 */
export function replaceTables(
  document: string,
  { rows, machine, notes, command }: Measured,
): { readonly text: string; readonly written: readonly string[]; readonly homeless: readonly string[] } {
  const written: string[] = [];
  const placed = new Set<string>();
  const text = document.replace(
    /(<!-- bench (\S+) -->\n)[\s\S]*?(<!-- \/bench -->)/g,
    (place, begin: string, name: string, end: string) => {
      const own = rows.filter((row) => row.name.startsWith(name));
      if (own.length === 0) return place;
      written.push(name);
      for (const row of own) placed.add(row.name);
      const remarks = notes.length > 0 ? `\n${notes.map((note) => `${note}.`).join(" ")}\n` : "";
      return `${begin}\n\`${command}\`: ${machine}.\n${remarks}\n${markdownTable(own)}\n\n${end}`;
    },
  );
  return { text, written, homeless: rows.map(({ name }) => name).filter((name) => !placed.has(name)) };
}
