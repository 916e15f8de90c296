// The addon's entry: each file of this folder registers its functions. No logic lives here.
#include <napi.h>

#include <thread>

#include "core/cpu_isa.h"
#include "parts.h"

namespace smhdr::addon {
namespace {

Napi::Value cpu_info(const Napi::CallbackInfo& info) {
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("isa", cpu_isa_name(cpu_isa()));
  out.Set("bf16", cpu_has_bf16());
  out.Set("matrixUnit", cpu_has_matrix_unit());
  out.Set("gainsFromBf16", cpu_gains_from_bf16());
  out.Set("processors", static_cast<double>(std::thread::hardware_concurrency()));
  return out;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("cpuInfo", Napi::Function::New(env, cpu_info, "cpuInfo"));
  init_parts(env, exports);
  return exports;
}

}  // namespace
}  // namespace smhdr::addon

static Napi::Object init_addon(Napi::Env env, Napi::Object exports) { return smhdr::addon::init(env, exports); }
NODE_API_MODULE(smhdr, init_addon)
