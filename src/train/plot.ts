/** A line of a plot: points in the order of x. */
export interface Series {
  readonly name: string;
  readonly colour: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** A band behind the line: lower and upper y at the same x. */
  readonly band?: readonly (readonly [x: number, low: number, high: number])[];
  /** Draws the points faintly and the mean of about a twentieth of them as the line. */
  readonly smoothed?: boolean;
  /** Draws a dot at every point. */
  readonly dots?: boolean;
}

export interface PlotOptions {
  readonly title: string;
  readonly unit?: string;
  readonly logarithmic?: boolean;
  /** Vertical lines with a name. */
  readonly marks?: readonly { readonly x: number; readonly name: string }[];
  /** The x axis, the same for plots above each other. */
  readonly range?: readonly [number, number];
}

const WIDTH = 620;
const HEIGHT = 270;
const LEFT = 62;
const RIGHT = 14;
const TOP = 40;
const BOTTOM = 34;
/** More points than pixels are only ink. */
const MOST_POINTS = 500;

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** Round numbers that divide [low, high] into about `count` parts. */
export function niceTicks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999) as number;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** 1, 2, 5 and powers of ten between two positive numbers; fewer where they are many. */
function logTicks(low: number, high: number): number[] {
  const ticks: number[] = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
    for (const m of [1, 2, 5]) ticks.push(Number((m * 10 ** e).toPrecision(6)));
  const inside = ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  if (inside.length <= 7) return inside;
  return inside.filter((tick) => /^1(e|0*$)|^0\.0*1$/.test(String(tick)));
}

function label(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential().replace("e+", "e");
  return size >= 10000 ? `${value / 1000}k` : String(Number(value.toPrecision(6)));
}

function thinned<T extends readonly number[]>(points: readonly T[]): T[] {
  if (points.length <= MOST_POINTS) return [...points];
  return Array.from({ length: MOST_POINTS }, (_, i) => {
    const part = points.slice(
      Math.floor((i * points.length) / MOST_POINTS),
      Math.floor(((i + 1) * points.length) / MOST_POINTS),
    );
    return part[0].map((_, k) => part.reduce((sum, p) => sum + p[k], 0) / part.length) as unknown as T;
  });
}

/** The mean of the points around each one, over about a twentieth of them. */
function smooth(points: readonly (readonly [number, number])[]): [number, number][] {
  const reach = Math.floor(points.length / 40);
  return points.map(([x], i) => {
    const part = points.slice(Math.max(0, i - reach), i + reach + 1);
    return [x, part.reduce((sum, [, y]) => sum + y, 0) / part.length];
  });
}

/** A line plot as inline SVG; where there is nothing to draw it says so. */
export function plot(series: readonly Series[], options: PlotOptions): string {
  const { title, unit, logarithmic = false, marks = [], range } = options;
  const finite = (v: number) => Number.isFinite(v) && (!logarithmic || v > 0);
  const lines = series
    .map((s) => ({
      ...s,
      points: thinned(s.points.filter(([, y]) => finite(y))),
      band: thinned((s.band ?? []).filter(([, low, high]) => finite(low) && finite(high))),
    }))
    .filter(({ points }) => points.length > 0);
  const heading = `<text x="${LEFT}" y="18" class="title">${escapeHtml(title)}${unit ? ` <tspan class="unit">${escapeHtml(unit)}</tspan>` : ""}</text>`;
  const open = `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(title)}">${heading}`;
  if (lines.length === 0)
    return `${open}<text x="${WIDTH / 2}" y="${HEIGHT / 2}" class="none">nothing measured yet</text></svg>`;

  const xs = lines.flatMap(({ points }) => points.map(([x]) => x));
  const ys = lines.flatMap(({ points, band }) => [...points.map(([, y]) => y), ...band.flatMap(([, a, b]) => [a, b])]);
  const [x0, x1] = range ?? [Math.min(...xs), Math.max(...xs)];
  const f = logarithmic ? Math.log10 : (v: number) => v;
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)].map(f);
  const room = Math.max((y1 - y0) * 0.06, logarithmic ? 0.02 : Math.abs(y1) * 0.02, 1e-9);
  y0 -= !logarithmic && y0 >= 0 && y0 - room < 0 ? y0 : room;
  y1 += room;
  const px = (x: number) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT);
  const py = (y: number) => HEIGHT - BOTTOM - ((f(y) - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const at = (x: number, y: number) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`;

  const yTicks = logarithmic ? logTicks(10 ** y0, 10 ** y1) : niceTicks(y0, y1, 4);
  const grid = yTicks.map(
    (y) =>
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${py(y).toFixed(1)}" y2="${py(y).toFixed(1)}" class="grid"/><text x="${LEFT - 8}" y="${(py(y) + 4).toFixed(1)}" class="y">${label(y)}</text>`,
  );
  const xAxis = niceTicks(x0, x1 > x0 ? x1 : x0 + 1, 6)
    .filter((x) => x >= x0 && x <= x1)
    .map((x) => `<text x="${px(x).toFixed(1)}" y="${HEIGHT - BOTTOM + 18}" class="x">${label(x)}</text>`);
  xAxis.push(`<text x="${WIDTH - RIGHT}" y="${HEIGHT - 3}" class="y">step</text>`);
  const marked = marks
    .filter(({ x }) => x >= x0 && x <= x1)
    .map(
      ({ x, name }) =>
        `<line x1="${px(x).toFixed(1)}" x2="${px(x).toFixed(1)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}" class="mark"/><text x="${(px(x) + 4).toFixed(1)}" y="${TOP + 10}" class="mark">${escapeHtml(name)}</text>`,
    );
  const drawn = lines.map(({ points, band, colour, dots, smoothed }) => {
    const area =
      band.length > 1
        ? `<polygon points="${[...band.map(([x, , high]) => at(x, high)), ...[...band].reverse().map(([x, low]) => at(x, low))].join(" ")}" fill="${colour}" opacity="0.15"/>`
        : "";
    const spots =
      dots || points.length === 1
        ? points
            .map(([x, y]) => `<circle cx="${px(x).toFixed(1)}" cy="${py(y).toFixed(1)}" r="2.6" fill="${colour}"/>`)
            .join("")
        : "";
    const stroke = (line: readonly (readonly [number, number])[], opacity: number) =>
      `<polyline points="${line.map(([x, y]) => at(x, y)).join(" ")}" fill="none" stroke="${colour}" stroke-width="1.6" stroke-linejoin="round" opacity="${opacity}"/>`;
    return `${area}${smoothed ? stroke(points, 0.22) + stroke(smooth(points), 1) : stroke(points, 1)}${spots}`;
  });
  let from = WIDTH - RIGHT;
  const legend =
    lines.length > 1
      ? [...lines].reverse().map(({ name, colour }) => {
          const text = `<text x="${from}" y="18" class="legend" style="fill:${colour}">${escapeHtml(name)}</text>`;
          from -= name.length * 7 + 16;
          return text;
        })
      : [];
  return [open, ...grid, ...xAxis, ...marked, ...drawn, ...legend, "</svg>"].join("");
}
