import type { Row } from "./row.js";

const number = (value: number): string =>
  value >= 100
    ? value.toFixed(0)
    : value >= 10
      ? value.toFixed(1)
      : value >= 0.1
        ? value.toFixed(2)
        : value.toPrecision(2);
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

const columns: readonly { readonly title: string; readonly cell: (row: Row) => string }[] = [
  { title: "row", cell: ({ name, quick }) => (quick ? `${name} (quick)` : name) },
  { title: "seconds", cell: ({ seconds }) => number(seconds) },
  { title: "GFLOP/s", cell: ({ gflops }) => (gflops === undefined ? "" : number(gflops)) },
  {
    title: "GB/s",
    cell: ({ gigabytesPerSecond }) => (gigabytesPerSecond === undefined ? "" : number(gigabytesPerSecond)),
  },
  {
    title: "of its peak",
    cell: ({ fractionOfPeak, bound }) =>
      fractionOfPeak === undefined ? "" : `${(100 * fractionOfPeak).toFixed(0)} % ${bound ?? ""}`.trimEnd(),
  },
  {
    title: "memory",
    cell: ({ memoryBytes, tapeBytesPerPixel }) =>
      [memoryBytes && mebibytes(memoryBytes), tapeBytesPerPixel && `tape ${tapeBytesPerPixel} B/pixel`]
        .filter(Boolean)
        .join(", "),
  },
  {
    title: "others: seconds, times ours",
    cell: ({ peers, ratios, peerMemoryBytes, seconds }) =>
      Object.entries(peers)
        .map(([name, theirs]) => {
          const memory = peerMemoryBytes?.[name];
          return `${name} ${number(theirs)} (${number(ratios?.[name] ?? theirs / seconds)}x${memory ? `, ${mebibytes(memory)}` : ""})`;
        })
        .join("; "),
  },
];
const widths = [40, 9, 8, 7, 15, 10, 0];

/** One line of the table for a terminal; without a row the head. */
export function textLine(row?: Row): string {
  return columns
    .map(({ title, cell }, i) => {
      const text = row ? cell(row) : title;
      return i === 0 || i === columns.length - 1 ? text.padEnd(widths[i]) : text.padStart(widths[i]);
    })
    .join("  ")
    .trimEnd();
}

/** A Markdown table without the columns that no row fills. */
export function markdownTable(rows: readonly Row[]): string {
  const filled = columns.filter(({ cell }) => rows.some((row) => cell(row) !== ""));
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [
    line(filled.map(({ title }) => title)),
    line(filled.map(() => "---")),
    ...rows.map((row) => line(filled.map(({ cell }) => cell(row)))),
  ].join("\n");
}
