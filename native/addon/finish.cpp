// What a network's picture is freed of, for JS: its drift, band by band, and colour noise.
#include <memory>
#include <utility>

#include "parts.h"
#include "smhdr/colour_noise.h"
#include "smhdr/drift.h"
#include "typed_array.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

struct Held {
  Drift drift;
  int64_t width;
};
using Handle = Napi::External<std::shared_ptr<Held>>;

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
  auto* box = new std::shared_ptr<Held>(std::make_shared<Held>(Held{std::move(created.value()), width}));
  return Handle::New(env, box, [](Napi::Env, std::shared_ptr<Held>* held) { delete held; });
}

/// driftMeasure(handle, y0, picture, merge, mergeScale, reference, threads) -> task
Napi::Value measure(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto held = *info[0].As<Handle>().Data();
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
  const auto held = *info[0].As<Handle>().Data();
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
  const auto held = *info[0].As<Handle>().Data();
  const int64_t y0 = info[1].As<Napi::Number>().Int64Value(), rows = rows_in(info.Env(), info[2], held->width, 3);
  float* picture = info[2].As<Napi::Float32Array>().Data();
  return start_task(
      info.Env(), {info[2]}, info.Env().Undefined(),
      [=, pool = shared_pool(info[3].As<Napi::Number>().Int32Value())](const Progress&) {
        return held->drift.take_back(y0, rows, picture, *pool);
      },
      [](Napi::Env env) { return env.Undefined(); });
}

/// takeColourNoiseAway(picture, width, threads) -> task
Napi::Value take_colour_noise(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int64_t width = info[1].As<Napi::Number>().Int64Value();
  if (width < 1) refuse(env, "takeColourNoiseAway: expected a width of 1 or more.");
  const int64_t height = rows_in(env, info[0], width, 3);
  float* picture = info[0].As<Napi::Float32Array>().Data();
  return start_task(
      env, {info[0]}, env.Undefined(),
      [=, pool = shared_pool(info[2].As<Napi::Number>().Int32Value())](const Progress& progress) {
        return take_colour_noise_away(picture, height, width, *pool, &progress);
      },
      [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace

void init_finish(Napi::Env env, Napi::Object exports) {
  exports.Set("createDrift", Napi::Function::New(env, create, "createDrift"));
  exports.Set("driftMeasure", Napi::Function::New(env, measure, "driftMeasure"));
  exports.Set("driftSmooth", Napi::Function::New(env, smooth, "driftSmooth"));
  exports.Set("driftTakeBack", Napi::Function::New(env, take_back, "driftTakeBack"));
  exports.Set("takeColourNoiseAway", Napi::Function::New(env, take_colour_noise, "takeColourNoiseAway"));
}

}  // namespace smhdr::addon
