// Pixels in and out: proxies of photographs and their histograms, scanlines of Radiance and OpenEXR files. Called on
// strips of rows; short enough to run at once, without a task.
#include <string>
#include <vector>

#include "parts.h"
#include "smhdr/openexr.h"
#include "smhdr/proxy.h"
#include "smhdr/radiance_hdr.h"
#include "typed_array.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

/// proxyAdd(codes, table, width, y0, scale, sums): see smhdr/proxy.h. `codes` holds whole rows.
Napi::Value proxy_add(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const bool small = is(info[0], napi_uint8_array), large = is(info[0], napi_uint16_array);
  if (!(small || large) || !is(info[1], napi_float32_array) || !info[2].IsNumber() || !info[3].IsNumber() ||
      !info[4].IsNumber() || !is(info[5], napi_float32_array))
    refuse(env, "proxyAdd: expected (codes, table, width, y0, scale, sums).");
  const Napi::Float32Array table = info[1].As<Napi::Float32Array>();
  Napi::Float32Array sums = info[5].As<Napi::Float32Array>();
  const int64_t width = info[2].As<Napi::Number>().Int64Value(), y0 = info[3].As<Napi::Number>().Int64Value();
  const int64_t scale = info[4].As<Napi::Number>().Int64Value();
  const int64_t samples = int64_t(info[0].As<Napi::TypedArray>().ElementLength());
  const int64_t most = int64_t(1) << 31;
  if (width < 1 || width > most || y0 < 0 || y0 > most || scale < 1 || samples % (3 * width) != 0)
    refuse(env, "proxyAdd: expected whole rows, a width and scale of at least 1 and a first row of at least 0.");
  const int64_t rows = samples / 3 / width, across = (width + scale - 1) / scale;
  if (table.ElementLength() != (small ? 256u : 65536u) ||
      int64_t(sums.ElementLength()) / 3 < (y0 + rows + scale - 1) / scale * across)
    refuse(env, "proxyAdd: expected a value for every code, and room for the sums of all rows.");
  const std::span<const float> values(table.Data(), table.ElementLength());
  if (small)
    add_to_proxy(info[0].As<Napi::Uint8Array>().Data(), values, width, y0, rows, scale, sums.Data());
  else
    add_to_proxy(info[0].As<Napi::Uint16Array>().Data(), values, width, y0, rows, scale, sums.Data());
  return env.Undefined();
}

/// countLevels(rgb, counts): see smhdr/proxy.h; `counts` says how many bins there are.
Napi::Value count(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is(info[0], napi_float32_array) || !is(info[1], napi_uint32_array))
    refuse(env, "countLevels: expected (rgb, counts).");
  const Napi::Float32Array rgb = info[0].As<Napi::Float32Array>();
  Napi::Uint32Array counts = info[1].As<Napi::Uint32Array>();
  if (rgb.ElementLength() % 3 != 0 || counts.ElementLength() % 3 != 0 || counts.ElementLength() < 9 ||
      counts.ElementLength() > 3u << 20)
    refuse(env, "countLevels: expected RGB values, and counts for three channels.");
  count_levels({rgb.Data(), rgb.ElementLength()}, int64_t(counts.ElementLength()) / 3 - 2, counts.Data());
  return env.Undefined();
}

/// encodeRgbe(rgb, width, out) -> bytes: see smhdr/radiance_hdr.h. `rgb` holds whole lines.
Napi::Value encode_rgbe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is(info[0], napi_float32_array) || !info[1].IsNumber() || !is(info[2], napi_uint8_array))
    refuse(env, "encodeRgbe: expected (rgb, width, out).");
  const Napi::Float32Array rgb = info[0].As<Napi::Float32Array>();
  Napi::Uint8Array out = info[2].As<Napi::Uint8Array>();
  const int64_t width = info[1].As<Napi::Number>().Int64Value(), samples = int64_t(rgb.ElementLength());
  if (width < 1 || width > samples || samples % (3 * width) != 0)
    refuse(env, "encodeRgbe: expected whole lines of at least one pixel.");
  const int64_t lines = samples / 3 / width;
  if (int64_t(out.ElementLength()) / longest_rgbe_line(width) < lines)
    refuse(env, "encodeRgbe: expected room for the longest lines.");
  std::vector<uint8_t> planes(size_t(4 * width));
  return Napi::Number::New(env, double(encode_rgbe_lines(rgb.Data(), width, lines, planes.data(), out.Data())));
}

/// packOpenExr(rgb, width, half, predicted, out): see smhdr/openexr.h. `rgb` holds whole lines, `out` takes their
/// bytes.
Napi::Value pack_exr(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is(info[0], napi_float32_array) || !info[1].IsNumber() || !is(info[4], napi_uint8_array))
    refuse(env, "packOpenExr: expected (rgb, width, half, predicted, out).");
  const Napi::Float32Array rgb = info[0].As<Napi::Float32Array>();
  Napi::Uint8Array out = info[4].As<Napi::Uint8Array>();
  const int64_t width = info[1].As<Napi::Number>().Int64Value(), samples = int64_t(rgb.ElementLength());
  const bool half = info[2].ToBoolean();
  const int64_t bytes = samples * (half ? 2 : 4);
  if (width < 1 || width > samples || samples % (3 * width) != 0 || int64_t(out.ElementLength()) != bytes)
    refuse(env, "packOpenExr: expected whole lines of at least one pixel, and room for their bytes and no more.");
  const int64_t lines = samples / 3 / width;
  if (info[3].ToBoolean()) {
    std::vector<uint8_t> raw(size_t(bytes), 0);
    pack_openexr_lines(rgb.Data(), width, lines, half, raw.data());
    predict_openexr(raw.data(), bytes, out.Data());
  } else {
    pack_openexr_lines(rgb.Data(), width, lines, half, out.Data());
  }
  return env.Undefined();
}

}  // namespace

void init_pixels(Napi::Env env, Napi::Object exports) {
  exports.Set("proxyAdd", Napi::Function::New(env, proxy_add, "proxyAdd"));
  exports.Set("countLevels", Napi::Function::New(env, count, "countLevels"));
  exports.Set("encodeRgbe", Napi::Function::New(env, encode_rgbe, "encodeRgbe"));
  exports.Set("packOpenExr", Napi::Function::New(env, pack_exr, "packOpenExr"));
}

}  // namespace smhdr::addon
