// Tone mapping for JS: rows at once, without a task.
#include "smhdr/tone_map.h"

#include <cmath>
#include <memory>
#include <utility>

#include "parts.h"
#include "typed_array.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

using Handle = Napi::External<ToneMap>;

template <typename Array, typename T>
std::vector<T> copied(const Napi::Value& value, napi_typedarray_type type) {
  if (!is(value, type)) return {};  // too short
  const Array given = value.As<Array>();
  return {given.Data(), given.Data() + given.ElementLength()};
}

/// sumLogLuminance(rgb, width, y0, weights, factor, sums, counts): see smhdr/tone_map.h. `rgb` holds whole rows.
Napi::Value sum_logs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is(info[0], napi_float32_array) || !info[1].IsNumber() || !info[2].IsNumber() || !info[3].IsArray() ||
      !info[4].IsNumber() || !is(info[5], napi_float64_array) || !is(info[6], napi_uint32_array))
    refuse(env, "sumLogLuminance: expected (rgb, width, y0, weights, factor, sums, counts).");
  const Napi::Float32Array rgb = info[0].As<Napi::Float32Array>();
  Napi::Float64Array sums = info[5].As<Napi::Float64Array>();
  Napi::Uint32Array counts = info[6].As<Napi::Uint32Array>();
  const int64_t width = info[1].As<Napi::Number>().Int64Value(), y0 = info[2].As<Napi::Number>().Int64Value();
  const int64_t factor = info[4].As<Napi::Number>().Int64Value(), samples = int64_t(rgb.ElementLength());
  const int64_t most = int64_t(1) << 31;
  if (width < 1 || width > most || samples % (3 * width) != 0 || y0 < 0 || y0 > most || factor < 1 || factor > most)
    refuse(env, "sumLogLuminance: expected whole rows, a first row of at least 0 and a factor of at least 1.");
  const int64_t rows = samples / 3 / width, across = (width + factor - 1) / factor;
  if (int64_t(sums.ElementLength()) / across < (y0 + rows + factor - 1) / factor ||
      sums.ElementLength() != counts.ElementLength())
    refuse(env, "sumLogLuminance: expected room for the sums and counts of all rows.");
  sum_log_luminance(rgb.Data(), width, y0, rows, numbers<3>(info[3]), factor, across, sums.Data(), counts.Data());
  return env.Undefined();
}

/// createToneMap({ luminance, toSrgb, width, height, factor, slope, offset, curve, first, steps, detail, saturation,
/// encode }) -> handle
Napi::Value create(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object given = info[0].As<Napi::Object>();
  const auto number = [&](const char* name) { return given.Get(name).As<Napi::Number>().DoubleValue(); };
  auto map = std::make_unique<ToneMap>();
  map->luminance = numbers<3>(given.Get("luminance"));
  map->to_srgb = numbers<9>(given.Get("toSrgb"));
  for (const auto& [name, side] :
       {std::pair{"width", &map->width}, {"height", &map->height}, {"factor", &map->factor}}) {
    const double value = number(name);
    if (!(value >= 1 && value <= 0x1p31)) refuse(env, "createToneMap: expected a picture and a factor of 1 to 2^31.");
    *side = int64_t(value);
  }
  map->slope = copied<Napi::Float32Array, float>(given.Get("slope"), napi_float32_array);
  map->offset = copied<Napi::Float32Array, float>(given.Get("offset"), napi_float32_array);
  map->curve = copied<Napi::Float64Array, double>(given.Get("curve"), napi_float64_array);
  map->encode = copied<Napi::Float64Array, double>(given.Get("encode"), napi_float64_array);
  map->first = number("first"), map->steps = number("steps");
  map->detail = number("detail"), map->saturation = number("saturation");
  map->small_width = (map->width + map->factor - 1) / map->factor;
  map->small_height = (map->height + map->factor - 1) / map->factor;
  if (int64_t(map->slope.size()) != map->small_width * map->small_height || map->offset.size() != map->slope.size() ||
      map->curve.size() < 2 || map->encode.size() < 3 || !std::isfinite(map->first) || !(map->steps > 0) ||
      !std::isfinite(map->steps) || !std::isfinite(map->detail) || !std::isfinite(map->saturation))
    refuse(env, "createToneMap: expected a slope and an offset for every square, and tables of at least a step.");
  return Handle::New(env, map.release(), [](Napi::Env, ToneMap* held) { delete held; });
}

/// toneMapRows(handle, rgb, y0, out): whole rows, `out` of 8 or 16 bits.
Napi::Value rows(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ToneMap& map = *info[0].As<Handle>().Data();
  const bool small = is(info[3], napi_uint8_array);
  if (!is(info[1], napi_float32_array) || !info[2].IsNumber() || !(small || is(info[3], napi_uint16_array)))
    refuse(env, "toneMapRows: expected (handle, rgb, y0, out).");
  const Napi::Float32Array rgb = info[1].As<Napi::Float32Array>();
  const int64_t y0 = info[2].As<Napi::Number>().Int64Value(), samples = int64_t(rgb.ElementLength());
  const int64_t count = samples / 3 / map.width;
  if (samples != count * 3 * map.width || y0 < 0 || y0 > map.height - count ||
      int64_t(info[3].As<Napi::TypedArray>().ElementLength()) != samples)
    refuse(env, "toneMapRows: expected whole rows of the picture, and room for as many samples.");
  if (small)
    tone_map_rows(map, rgb.Data(), y0, count, info[3].As<Napi::Uint8Array>().Data());
  else
    tone_map_rows(map, rgb.Data(), y0, count, info[3].As<Napi::Uint16Array>().Data());
  return env.Undefined();
}

}  // namespace

void init_tone_map(Napi::Env env, Napi::Object exports) {
  exports.Set("sumLogLuminance", Napi::Function::New(env, sum_logs, "sumLogLuminance"));
  exports.Set("createToneMap", Napi::Function::New(env, create, "createToneMap"));
  exports.Set("toneMapRows", Napi::Function::New(env, rows, "toneMapRows"));
}

}  // namespace smhdr::addon
