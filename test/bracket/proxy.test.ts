import assert from "node:assert/strict";
import { it } from "node:test";
import { PROXY_PIXELS, ProxyBuilder, proxyScale } from "../../src/bracket/proxy.js";
import { linearTable, toLinear } from "../../src/bracket/transfer.js";
import { optionalAddon } from "../../src/engine/addon.js";

it("a proxy has at most two million pixels, by the smallest whole factor", () => {
  for (const [width, height, wanted] of [
    [1, 1, 1],
    [2000, 1000, 1],
    [2001, 1000, 2],
    [8192, 5464, 5],
    [100, 1_000_000, 8],
  ]) {
    const scale = proxyScale(width, height);
    assert.equal(scale, wanted, `${width} x ${height}`);
    assert.ok(Math.ceil(width / scale) * Math.ceil(height / scale) <= PROXY_PIXELS);
  }
});

it("a proxy pixel is the mean linear light of its block, at ragged edges too, however the rows come", () => {
  const [width, height] = [2101, 1001];
  const rows = Uint16Array.from({ length: width * height * 3 }, (_, i) => (i * 40503) % 65536);
  for (const strip of [1, 7, height]) {
    const builder = new ProxyBuilder(width, height, { transfer: "srgb", primaries: "srgb" });
    for (let y = 0; y < height; y += strip) {
      builder.add(rows.subarray(y * width * 3, Math.min(y + strip, height) * width * 3));
    }
    const proxy = builder.finish();
    assert.deepEqual([proxy.width, proxy.height, proxy.scale], [1051, 501, 2]);
    for (const [x, y] of [
      [0, 0],
      [1050, 17],
      [300, 500],
      [1050, 500],
    ]) {
      for (let c = 0; c < 3; c++) {
        let [sum, area] = [0, 0];
        for (let v = 2 * y; v < Math.min(2 * y + 2, height); v++) {
          for (let u = 2 * x; u < Math.min(2 * x + 2, width); u++, area++) {
            sum += toLinear("srgb", rows[(v * width + u) * 3 + c] / 65535);
          }
        }
        assert.ok(Math.abs(proxy.data[(y * proxy.width + x) * 3 + c] - sum / area) < 1e-6);
      }
    }
  }
});

it("with and without the addon a proxy is the same, bit for bit", (t) => {
  const addon = optionalAddon();
  if (!addon) return t.skip("no addon here");
  const [width, height] = [2101, 1001];
  const codes = Array.from({ length: width * height * 3 }, (_, i) => (i * 40503) % 65536);
  for (const rows of [Uint16Array.from(codes), Uint8Array.from(codes)]) {
    const both: Float32Array[] = [null, addon].map((given) => {
      const builder = new ProxyBuilder(width, height, { transfer: "srgb", primaries: "srgb" }, given);
      for (let y = 0; y < height; y += 13) builder.add(rows.subarray(y * width * 3, (y + 13) * width * 3));
      return builder.finish().data;
    });
    assert.deepEqual(both[1], both[0]);
  }
});

it("the addon refuses rows and sums that do not fit", (t) => {
  const addon = optionalAddon();
  if (!addon) return t.skip("no addon here");
  const table = linearTable("srgb", 8);
  for (const [codes, width, y0, scale, sums] of [
    [10, 3, 0, 1, 27],
    [9, 0, 0, 1, 27],
    [9, 3, -1, 1, 27],
    [9, 3, 0, 0, 27],
    [9, 3, 0, 1, 2],
    [9, 3, 5, 1, 27],
  ]) {
    const call = () => addon.proxyAdd(new Uint8Array(codes), table, width, y0, scale, new Float32Array(sums));
    assert.throws(call, { code: "INVALID_ARGUMENT" });
  }
  const call = () => addon.proxyAdd(new Uint16Array(9), table, 3, 0, 1, new Float32Array(27));
  assert.throws(call, { code: "INVALID_ARGUMENT" });
});

it("transfer functions go from 0 to 1, rise, and pass through their known points", () => {
  const table = Float32Array.of(0, 0.25, 1);
  for (const transfer of ["linear", "srgb", "gamma2.2", "rec709", "pq", "hlg", { table }] as const) {
    const codes = linearTable(transfer, 16);
    assert.ok(Math.abs(codes[0]) < 1e-6 && Math.abs(codes[65535] - 1) < 1e-4, JSON.stringify(transfer));
    assert.ok(codes.every((value, i) => i === 0 || value >= codes[i - 1]));
  }
  const near = (got: number, wanted: number) =>
    assert.ok(Math.abs(got - wanted) < 1e-3 * wanted, `${got} != ${wanted}`);
  near(toLinear("srgb", 0.5), 0.21404);
  near(toLinear("rec709", 0.5), 0.25959);
  near(toLinear("pq", 0.508078), 0.01); // 100 of 10 000 cd/m2
  near(toLinear("hlg", 0.5), 1 / 12);
  near(toLinear({ table }, 0.75), 0.625);
});
