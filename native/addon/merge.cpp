// The radiance merger for JS: an analysis fed with bands of rows, then strips of rows in, radiance out.
#include "smhdr/merge.h"

#include <memory>
#include <string>

#include "parts.h"
#include "typed_array.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

struct Merger {
  RadianceMerger merger;
  int64_t width;
  PixelDepth depth;
  size_t exposures;
};
using Handle = Napi::External<std::shared_ptr<Merger>>;

std::shared_ptr<Merger> merger_of(const Napi::CallbackInfo& info) { return *info[0].As<Handle>().Data(); }

/// createMerger({ width, height, depth, transfer, exposureValues, alignments, reference, device? }) -> handle
Napi::Value create_merger(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object given = info[0].As<Napi::Object>();
  MergeOptions options;
  options.width = given.Get("width").As<Napi::Number>().Int64Value();
  options.height = given.Get("height").As<Napi::Number>().Int64Value();
  options.reference = given.Get("reference").As<Napi::Number>().Int32Value();
  options.depth = depth_of(given.Get("depth").As<Napi::String>());
  const Napi::Float32Array transfer = given.Get("transfer").As<Napi::Float32Array>();
  options.transfer.assign(transfer.Data(), transfer.Data() + transfer.ElementLength());
  const Napi::Array values = given.Get("exposureValues").As<Napi::Array>();
  const Napi::Array alignments = given.Get("alignments").As<Napi::Array>();
  for (uint32_t i = 0; i < values.Length(); ++i) {
    MergeExposure exposure;
    exposure.exposure_value = values.Get(i).As<Napi::Number>();
    if (const Napi::Value alignment = alignments.Get(i); alignment.IsArray())
      exposure.alignment = numbers<9>(alignment);
    options.exposures.push_back(exposure);
  }
  if (given.Get("device").IsString()) options.device = given.Get("device").As<Napi::String>();
  const int64_t width = options.width;
  const PixelDepth pixel_depth = options.depth;
  const size_t exposures = options.exposures.size();
  Result<RadianceMerger> created = RadianceMerger::create(std::move(options));
  if (!created.ok()) throw to_js(env, created.error());
  auto* box = new std::shared_ptr<Merger>(
      std::make_shared<Merger>(Merger{std::move(created.value()), width, pixel_depth, exposures}));
  return Handle::New(env, box, [](Napi::Env, std::shared_ptr<Merger>* held) { delete held; });
}

/// mergerBands(handle) -> [y0, y1][]
Napi::Value merger_bands(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env());
  for (const RowSpan& band : merger_of(info)->merger.analysis_bands())
    out.Set(out.Length(), to_pair(info.Env(), band.begin, band.end));
  return out;
}

/// mergerSourceRows(handle, y0, y1) -> [y0, y1] of every exposure
Napi::Value merger_source_rows(const Napi::CallbackInfo& info) {
  const auto merger = merger_of(info);
  const int64_t y0 = info[1].As<Napi::Number>().Int64Value(), y1 = info[2].As<Napi::Number>().Int64Value();
  Napi::Array out = Napi::Array::New(info.Env(), merger->exposures);
  for (uint32_t i = 0; i < merger->exposures; ++i) {
    const RowSpan span = merger->merger.source_rows(static_cast<int>(i), y0, y1);
    out.Set(i, to_pair(info.Env(), span.begin, span.end));
  }
  return out;
}

/// The rows of mergerSourceRows(handle, y0, y1), from an array of typed arrays that holds exactly them.
std::vector<ExposureRows> read_rows(const Napi::CallbackInfo& info, const Merger& merger, int64_t y0, int64_t y1,
                                    std::vector<Napi::Value>& hold) {
  const Napi::Array given = info[3].As<Napi::Array>();
  if (given.Length() != merger.exposures) refuse(info.Env(), "rows: expected one array for each exposure.");
  std::vector<ExposureRows> out;
  for (uint32_t i = 0; i < given.Length(); ++i) {
    const Napi::TypedArray array = given.Get(i).As<Napi::TypedArray>();
    const RowSpan span = merger.merger.source_rows(static_cast<int>(i), y0, y1);
    const int64_t samples = (span.end - span.begin) * merger.width * 3;
    if (array.TypedArrayType() != type_of(merger.depth) || static_cast<int64_t>(array.ElementLength()) != samples)
      refuse(info.Env(), "rows: expected " + std::to_string(samples) + " samples of exposure " + std::to_string(i) +
                             " in the bracket's depth, got " + std::to_string(array.ElementLength()) + ".");
    out.push_back({data_of(array), span.begin, span.end});
    hold.push_back(array);
  }
  return out;
}

/// mergerAnalyse(handle, y0, y1, rows) -> task
Napi::Value merger_analyse(const Napi::CallbackInfo& info) {
  const auto merger = merger_of(info);
  const RowSpan band{info[1].As<Napi::Number>().Int64Value(), info[2].As<Napi::Number>().Int64Value()};
  std::vector<Napi::Value> hold;
  auto rows = read_rows(info, *merger, band.begin, band.end, hold);
  return start_task(
      info.Env(), hold, info.Env().Undefined(),
      [merger, band, rows = std::move(rows)](const Progress&) { return merger->merger.analyse(band, rows); },
      [](Napi::Env env) { return env.Undefined(); });
}

/// mergerFinish(handle) -> task of { samples, before, after, curve: number[] }
Napi::Value merger_finish(const Napi::CallbackInfo& info) {
  const auto merger = merger_of(info);
  const auto found = std::make_shared<MergeCalibration>();
  return start_task(
      info.Env(), {}, info.Env().Undefined(),
      [merger, found](const Progress&) -> Status {
        *found = merger->merger.finish_analysis();
        return {};
      },
      [found](Napi::Env env) -> Napi::Value {
        Napi::Object out = Napi::Object::New(env);
        out.Set("samples", static_cast<double>(found->samples));
        out.Set("before", found->disagreement_before);
        out.Set("after", found->disagreement_after);
        Napi::Array curve = Napi::Array::New(env);
        for (double stops : found->curve) curve.Set(curve.Length(), stops);
        out.Set("curve", curve);
        return out;
      });
}

/// mergerRun(handle, y0, y1, rows, out, threads) -> task of why the processor merges though a device was to, or "";
/// `out` takes the radiance of rows [y0, y1)
Napi::Value merger_run(const Napi::CallbackInfo& info) {
  const auto merger = merger_of(info);
  const int64_t y0 = info[1].As<Napi::Number>().Int64Value(), y1 = info[2].As<Napi::Number>().Int64Value();
  std::vector<Napi::Value> hold;
  auto rows = read_rows(info, *merger, y0, y1, hold);
  Napi::Float32Array out = info[4].As<Napi::Float32Array>();
  if (static_cast<int64_t>(out.ElementLength()) != (y1 - y0) * merger->width * 3)
    refuse(info.Env(), "out: expected " + std::to_string((y1 - y0) * merger->width * 3) + " values, got " +
                           std::to_string(out.ElementLength()) + ".");
  hold.push_back(out);
  return start_task(
      info.Env(), hold, info.Env().Undefined(),
      [merger, y0, y1, rows = std::move(rows), data = out.Data(),
       pool = shared_pool(info[5].As<Napi::Number>().Int32Value())](const Progress& progress) {
        return merger->merger.merge(y0, y1, rows, data, *pool, progress);
      },
      [merger](Napi::Env env) -> Napi::Value { return Napi::String::New(env, merger->merger.device_failure()); });
}

}  // namespace

void init_merge(Napi::Env env, Napi::Object exports) {
  exports.Set("createMerger", Napi::Function::New(env, create_merger, "createMerger"));
  exports.Set("mergerBands", Napi::Function::New(env, merger_bands, "mergerBands"));
  exports.Set("mergerSourceRows", Napi::Function::New(env, merger_source_rows, "mergerSourceRows"));
  exports.Set("mergerAnalyse", Napi::Function::New(env, merger_analyse, "mergerAnalyse"));
  exports.Set("mergerFinish", Napi::Function::New(env, merger_finish, "mergerFinish"));
  exports.Set("mergerRun", Napi::Function::New(env, merger_run, "mergerRun"));
}

}  // namespace smhdr::addon
