// What this machine can do at most, for `smhdr bench`: samples of core/machine_meter.h.
#include <memory>
#include <string>

#include "core/machine_meter.h"
#include "parts.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

struct Meter {
  std::shared_ptr<ThreadPool> pool;
  MachineMeter meter;
  explicit Meter(std::shared_ptr<ThreadPool> given) : pool(std::move(given)), meter(*pool) {}
};
using Handle = Napi::External<std::shared_ptr<Meter>>;

/// createMeter(threads) -> handle
Napi::Value create_meter(const Napi::CallbackInfo& info) {
  auto* box = new std::shared_ptr<Meter>(std::make_shared<Meter>(shared_pool(info[0].As<Napi::Number>().Int32Value())));
  return Handle::New(info.Env(), box, [](Napi::Env, std::shared_ptr<Meter>* b) { delete b; });
}

/// meterSample(handle, "fp32" | "bf16" | "triad" | "copy", bytes) -> task of { amount, seconds }
Napi::Value meter_sample(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Meter> meter = *info[0].As<Handle>().Data();
  const std::string kind = info[1].As<Napi::String>();
  const int64_t bytes = info[2].IsNumber() ? info[2].As<Napi::Number>().Int64Value() : 0;
  const auto sample = std::make_shared<MachineMeter::Sample>();
  return start_task(
      info.Env(), {}, info.Env().Undefined(),
      [meter, kind, bytes, sample](const Progress&) -> Status {
        MachineMeter& m = meter->meter;
        *sample = kind == "fp32"    ? m.multiply_adds()
                  : kind == "bf16"  ? m.bf16_products()
                  : kind == "triad" ? m.triad()
                                    : m.copy(bytes);
        return {};
      },
      [sample](Napi::Env env) -> Napi::Value {
        Napi::Object out = Napi::Object::New(env);
        out.Set("amount", sample->amount);
        out.Set("seconds", sample->seconds);
        return out;
      });
}

}  // namespace

void init_meter(Napi::Env env, Napi::Object exports) {
  exports.Set("createMeter", Napi::Function::New(env, create_meter, "createMeter"));
  exports.Set("meterSample", Napi::Function::New(env, meter_sample, "meterSample"));
}

}  // namespace smhdr::addon
