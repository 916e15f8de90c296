// align(images, width, height, scale, exposureValues, reference, onProgress, threads): registration of a bracket.
#include "smhdr/align.h"

#include <array>
#include <memory>
#include <vector>

#include "parts.h"
#include "typed_array.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

const char* name_of(AlignOutcome outcome) {
  constexpr std::array names = {"still", "aligned", "unreliable", "no-overlap"};
  return names[size_t(outcome)];
}

const char* name_of(AlignModel model) {
  constexpr std::array names = {"identity", "translation", "similarity", "homography"};
  return names[size_t(model)];
}

Napi::Value as_array(Napi::Env env, const std::vector<ExposureAlignment>& alignments) {
  Napi::Array out = Napi::Array::New(env, alignments.size());
  for (uint32_t i = 0; i < alignments.size(); ++i) {
    const ExposureAlignment& a = alignments[i];
    Napi::Array homography = Napi::Array::New(env, a.homography.size());
    for (uint32_t k = 0; k < a.homography.size(); ++k) homography.Set(k, a.homography[k]);
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("outcome", name_of(a.outcome));
    entry.Set("model", name_of(a.model));
    entry.Set("homography", homography);
    entry.Set("comparedWith", double(a.compared_with));
    entry.Set("displacement", a.displacement);
    entry.Set("agreementBefore", a.agreement_before);
    entry.Set("agreementAfter", a.agreement_after);
    out.Set(i, entry);
  }
  return out;
}

/// All arguments are checked for their kind here and for their sense in align_bracket.
Napi::Value align(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const bool fits = info.Length() >= 6 && info[0].IsArray() && info[1].IsNumber() && info[2].IsNumber() &&
                    info[3].IsNumber() && info[4].IsArray() && info[5].IsNumber();
  if (!fits)
    throw to_js(env, invalid_argument("align: expected (images, width, height, scale, exposureValues, reference)"));
  const int64_t width = info[1].As<Napi::Number>().Int64Value(), height = info[2].As<Napi::Number>().Int64Value();
  const double scale = info[3].As<Napi::Number>().DoubleValue();
  const int64_t reference = info[5].As<Napi::Number>().Int64Value();

  std::vector<AlignImage> images;
  std::vector<Napi::Value> hold;
  const Napi::Array given = info[0].As<Napi::Array>(), values = info[4].As<Napi::Array>();
  for (uint32_t i = 0; i < given.Length(); ++i) {
    const Napi::Value value = given.Get(i);
    if (!is(value, napi_float32_array) || !holds(value, width, height, 3))
      throw to_js(env, invalid_argument("align: expected images as Float32Arrays of width x height x 3 values"));
    images.push_back({value.As<Napi::Float32Array>().Data(), width, height, 3});
    hold.push_back(value);
  }
  std::vector<double> exposure_values;
  for (uint32_t i = 0; i < values.Length(); ++i) {
    const Napi::Value value = values.Get(i);
    if (!value.IsNumber()) throw to_js(env, invalid_argument("align: expected exposureValues as numbers"));
    exposure_values.push_back(value.As<Napi::Number>().DoubleValue());
  }

  const auto pool = shared_pool(info[7].IsNumber() ? info[7].As<Napi::Number>().Int32Value() : 0);
  const auto found = std::make_shared<std::vector<ExposureAlignment>>();
  return start_task(
      env, hold, info[6],
      [=](const Progress& progress) -> Status {
        auto result = align_bracket(images, exposure_values, reference, scale, *pool, progress);
        if (!result.ok()) return result.error();
        *found = std::move(result.value());
        return {};
      },
      [found](Napi::Env callback_env) { return as_array(callback_env, *found); });
}

}  // namespace

void init_align(Napi::Env env, Napi::Object exports) { exports.Set("align", Napi::Function::New(env, align, "align")); }

}  // namespace smhdr::addon
