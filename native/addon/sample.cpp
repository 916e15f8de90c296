// The sampler of exposures for JS: rows in, what the network reads out.
#include "smhdr/sample.h"

#include <memory>
#include <string>

#include "parts.h"
#include "typed_array.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

struct Sampler {
  ExposureSampler sampler;
  int64_t width;
  PixelDepth depth;
};
using Handle = Napi::External<std::shared_ptr<Sampler>>;

std::vector<float> floats(Napi::Env env, const Napi::Value& value) {
  if (!is(value, napi_float32_array)) refuse(env, "transfer and curve: expected a Float32Array.");
  const Napi::Float32Array given = value.As<Napi::Float32Array>();
  return {given.Data(), given.Data() + given.ElementLength()};
}

/// createSampler({ width, height, depth, transfer, gain, alignment, scale, curve }) -> handle
Napi::Value create_sampler(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object given = info[0].As<Napi::Object>();
  SampleOptions options;
  options.width = given.Get("width").As<Napi::Number>().Int64Value();
  options.height = given.Get("height").As<Napi::Number>().Int64Value();
  options.depth = depth_of(given.Get("depth").As<Napi::String>());
  options.transfer = floats(env, given.Get("transfer"));
  options.curve = floats(env, given.Get("curve"));
  options.gain = given.Get("gain").As<Napi::Number>().FloatValue();
  options.scale = given.Get("scale").As<Napi::Number>().FloatValue();
  if (const Napi::Value alignment = given.Get("alignment"); alignment.IsArray())
    options.alignment = numbers<9>(alignment);
  const int64_t width = options.width;
  const PixelDepth depth = options.depth;
  Result<ExposureSampler> created = ExposureSampler::create(std::move(options));
  if (!created.ok()) throw to_js(env, created.error());
  auto* box =
      new std::shared_ptr<Sampler>(std::make_shared<Sampler>(Sampler{std::move(created.value()), width, depth}));
  return Handle::New(env, box, [](Napi::Env, std::shared_ptr<Sampler>* held) { delete held; });
}

SampleRegion region_of(const Napi::Value& value) {
  const Napi::Object region = value.As<Napi::Object>();
  const auto number = [&](const char* name) { return region.Get(name).As<Napi::Number>().Int64Value(); };
  return {number("x"), number("y"), number("width"), number("height")};
}

RowSpan rows_of(const Napi::CallbackInfo& info, const Sampler& sampler, const SampleRegion& region) {
  const Result<RowSpan> span = sampler.sampler.source_rows(region);
  if (!span.ok()) throw to_js(info.Env(), span.error());
  return span.value();
}

/// samplerRows(handle, region) -> [y0, y1]
Napi::Value sampler_rows(const Napi::CallbackInfo& info) {
  const RowSpan span = rows_of(info, **info[0].As<Handle>().Data(), region_of(info[1]));
  return to_pair(info.Env(), span.begin, span.end);
}

/// samplerRead(handle, region, rows, out, threads) -> task; `rows` holds samplerRows(handle, region) and no others,
/// `out` takes 6 values a pixel.
Napi::Value sampler_read(const Napi::CallbackInfo& info) {
  const auto sampler = *info[0].As<Handle>().Data();
  const SampleRegion region = region_of(info[1]);
  const RowSpan span = rows_of(info, *sampler, region);
  const Napi::TypedArray given = info[2].As<Napi::TypedArray>();
  const int64_t samples = (span.end - span.begin) * sampler->width * 3;
  if (!is(info[2], type_of(sampler->depth)) || int64_t(given.ElementLength()) != samples)
    refuse(info.Env(), "rows: expected " + std::to_string(samples) + " samples in the exposure's depth, got " +
                           std::to_string(given.ElementLength()) + ".");
  if (!is(info[3], napi_float32_array) || !holds(info[3], region.width, region.height, 6))
    refuse(info.Env(), "out: expected 6 values for each pixel of the region.");
  Napi::Float32Array out = info[3].As<Napi::Float32Array>();
  const ExposureRows rows{data_of(given), span.begin, span.end};
  return start_task(
      info.Env(), {info[2], info[3]}, info.Env().Undefined(),
      [sampler, region, rows, data = out.Data(), pool = shared_pool(info[4].As<Napi::Number>().Int32Value())](
          const Progress&) { return sampler->sampler.sample(region, rows, data, *pool); },
      [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace

void init_sample(Napi::Env env, Napi::Object exports) {
  exports.Set("createSampler", Napi::Function::New(env, create_sampler, "createSampler"));
  exports.Set("samplerRows", Napi::Function::New(env, sampler_rows, "samplerRows"));
  exports.Set("samplerRead", Napi::Function::New(env, sampler_read, "samplerRead"));
}

}  // namespace smhdr::addon
