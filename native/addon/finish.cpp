// What a network's picture is freed of, for JS: its drift, band by band, and colour noise.
#include <memory>
#include <utility>
#include <vector>

#include "parts.h"
#include "smhdr/colour_noise.h"
#include "smhdr/drift.h"
#include "typed_array.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

struct HeldDrift {
  Drift drift;
  int64_t width;
};
using DriftHandle = Napi::External<std::shared_ptr<HeldDrift>>;

/// Rows of a picture that an array of `each` values a pixel holds.
int64_t rows_in(Napi::Env env, const Napi::Value& value, int64_t width, int64_t each) {
  if (!is(value, napi_float32_array)) refuse(env, "rows: expected Float32Arrays.");
  const int64_t values = int64_t(value.As<Napi::TypedArray>().ElementLength());
  if (values % (width * each) != 0) refuse(env, "rows: expected whole ones of the picture.");
  return values / (width * each);
}

/// createDrift(width, height) -> handle
Napi::Value create(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int64_t width = info[0].As<Napi::Number>().Int64Value();
  Result<Drift> created = Drift::create(width, info[1].As<Napi::Number>().Int64Value());
  if (!created.ok()) throw to_js(env, created.error());
  auto* box = new std::shared_ptr<HeldDrift>(std::make_shared<HeldDrift>(HeldDrift{std::move(created.value()), width}));
  return DriftHandle::New(env, box, [](Napi::Env, std::shared_ptr<HeldDrift>* held) { delete held; });
}

/// driftMeasure(handle, y0, picture, merge, mergeScale, reference, threads) -> task
Napi::Value measure(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto held = *info[0].As<DriftHandle>().Data();
  const int64_t y0 = info[1].As<Napi::Number>().Int64Value(), rows = rows_in(env, info[2], held->width, 3);
  if (rows_in(env, info[3], held->width, 3) != rows || rows_in(env, info[5], held->width, 6) != rows)
    refuse(env, "drift: expected as many rows of the merge and of the reference as of the picture.");
  const float *picture = info[2].As<Napi::Float32Array>().Data(), *merge = info[3].As<Napi::Float32Array>().Data();
  const float *reference = info[5].As<Napi::Float32Array>().Data(), scale = info[4].As<Napi::Number>().FloatValue();
  return start_task(
      env, {info[2], info[3], info[5]}, env.Undefined(),
      [=, pool = shared_pool(info[6].As<Napi::Number>().Int32Value())](const Progress&) {
        return held->drift.measure(y0, rows, picture, merge, scale, reference, *pool);
      },
      [](Napi::Env env) { return env.Undefined(); });
}

/// driftSmooth(handle, threads) -> task
Napi::Value smooth(const Napi::CallbackInfo& info) {
  const auto held = *info[0].As<DriftHandle>().Data();
  return start_task(
      info.Env(), {}, info.Env().Undefined(),
      [held, pool = shared_pool(info[1].As<Napi::Number>().Int32Value())](const Progress&) {
        held->drift.smooth(*pool);
        return Status();
      },
      [](Napi::Env env) { return env.Undefined(); });
}

/// driftTakeBack(handle, y0, picture, threads) -> task
Napi::Value take_back(const Napi::CallbackInfo& info) {
  const auto held = *info[0].As<DriftHandle>().Data();
  const int64_t y0 = info[1].As<Napi::Number>().Int64Value(), rows = rows_in(info.Env(), info[2], held->width, 3);
  float* picture = info[2].As<Napi::Float32Array>().Data();
  return start_task(
      info.Env(), {info[2]}, info.Env().Undefined(),
      [=, pool = shared_pool(info[3].As<Napi::Number>().Int32Value())](const Progress&) {
        return held->drift.take_back(y0, rows, picture, *pool);
      },
      [](Napi::Env env) { return env.Undefined(); });
}

struct HeldNoise {
  ColourNoise noise;
  int64_t width, height;
};
using NoiseHandle = Napi::External<std::shared_ptr<HeldNoise>>;

/// createColourNoise(width, height, exposureValues) -> handle
Napi::Value create_noise(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int64_t width = info[0].As<Napi::Number>().Int64Value(), height = info[1].As<Napi::Number>().Int64Value();
  const auto values = info[2].As<Napi::Array>();
  std::vector<float> stops;
  for (uint32_t i = 0; i < values.Length(); ++i) stops.push_back(values.Get(i).As<Napi::Number>().FloatValue());
  Result<ColourNoise> created = ColourNoise::create(width, height, std::move(stops));
  if (!created.ok()) throw to_js(env, created.error());
  auto* box =
      new std::shared_ptr<HeldNoise>(std::make_shared<HeldNoise>(HeldNoise{std::move(created.value()), width, height}));
  return NoiseHandle::New(env, box, [](Napi::Env, std::shared_ptr<HeldNoise>* held) { delete held; });
}

/// colourNoiseTops(handle) -> numbers
Napi::Value noise_tops(const Napi::CallbackInfo& info) {
  const std::vector<int64_t> tops = (*info[0].As<NoiseHandle>().Data())->noise.tops();
  auto out = Napi::Array::New(info.Env(), tops.size());
  for (size_t i = 0; i < tops.size(); ++i) out.Set(uint32_t(i), double(tops[i]));
  return out;
}

/// colourNoiseMeasure(handle, index, exposures, threads) -> task; exposures: the rows of each, one after the other.
Napi::Value measure_noise(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto held = *info[0].As<NoiseHandle>().Data();
  const int64_t index = info[1].As<Napi::Number>().Int64Value(), rows = rows_in(env, info[2], held->width, 6);
  if (rows % ColourNoise::kSquare != 0) refuse(env, "colourNoiseMeasure: expected 8 rows of every exposure.");
  const float* values = info[2].As<Napi::Float32Array>().Data();
  std::vector<const float*> exposures;
  for (int64_t y = 0; y < rows; y += ColourNoise::kSquare) exposures.push_back(values + y * held->width * 6);
  return start_task(
      env, {info[2]}, env.Undefined(),
      [=, pool = shared_pool(info[3].As<Napi::Number>().Int32Value())](const Progress&) {
        return held->noise.measure(index, exposures, *pool);
      },
      [](Napi::Env env) { return env.Undefined(); });
}

/// colourNoiseTakeAway(handle, picture, threads) -> task
Napi::Value take_noise_away(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto held = *info[0].As<NoiseHandle>().Data();
  if (rows_in(env, info[1], held->width, 3) != held->height)
    refuse(env, "colourNoiseTakeAway: expected the whole picture.");
  float* picture = info[1].As<Napi::Float32Array>().Data();
  return start_task(
      env, {info[1]}, env.Undefined(),
      [=, pool = shared_pool(info[2].As<Napi::Number>().Int32Value())](const Progress& progress) {
        return held->noise.take_away(picture, *pool, &progress);
      },
      [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace

void init_finish(Napi::Env env, Napi::Object exports) {
  exports.Set("createDrift", Napi::Function::New(env, create, "createDrift"));
  exports.Set("driftMeasure", Napi::Function::New(env, measure, "driftMeasure"));
  exports.Set("driftSmooth", Napi::Function::New(env, smooth, "driftSmooth"));
  exports.Set("driftTakeBack", Napi::Function::New(env, take_back, "driftTakeBack"));
  exports.Set("createColourNoise", Napi::Function::New(env, create_noise, "createColourNoise"));
  exports.Set("colourNoiseTops", Napi::Function::New(env, noise_tops, "colourNoiseTops"));
  exports.Set("colourNoiseMeasure", Napi::Function::New(env, measure_noise, "colourNoiseMeasure"));
  exports.Set("colourNoiseTakeAway", Napi::Function::New(env, take_noise_away, "colourNoiseTakeAway"));
}

}  // namespace smhdr::addon
