// Sessions of the network for JS: weights in, exposures in, radiance out.
#include <memory>
#include <string>

#include "ops/devices.h"
#include "smhdr/session.h"
#include "tensors.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

struct SessionBox {
  std::shared_ptr<Session> session;
  std::shared_ptr<SharedSums> sums;  // recorded by `record: true`, used by later runs until recorded again or cleared
};

/// createSession({ name: { shape, data } }, threads, "fp32" | "bf16", "cpu" | "cuda" | "cuda:1") ->
/// { handle, width, stages, device }
Napi::Value create_session(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ParameterMap parameters = read_tensors(info[0].As<Napi::Object>());
  const bool bf16 = info[2].As<Napi::String>().Utf8Value() == "bf16";
  auto created = Session::create(parameters, shared_pool(info[1].As<Napi::Number>().Int32Value()),
                                 bf16 ? Precision::bf16 : Precision::fp32, info[3].As<Napi::String>());
  if (!created.ok()) refuse(env, created.error());
  auto* box = new SessionBox{std::shared_ptr<Session>(std::move(created.value())), nullptr};
  Napi::Object out = Napi::Object::New(env);
  out.Set("handle", Napi::External<SessionBox>::New(env, box, [](Napi::Env, SessionBox* b) { delete b; }));
  out.Set("width", box->session->config().width);
  out.Set("stages", static_cast<double>(box->session->config().stages.size()));
  out.Set("device", box->session->device());
  return out;
}

/// runSession(handle, { exposures: Float32Array[], batch, height, width, record, maskMode?, maskMap? }, onProgress) ->
/// task of Float32Array [batch, height, width, 3]
Napi::Value run_session(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  SessionBox* box = info[0].As<Napi::External<SessionBox>>().Data();
  const Napi::Object options = info[1].As<Napi::Object>();
  const int batch = options.Get("batch").As<Napi::Number>(), height = options.Get("height").As<Napi::Number>(),
            width = options.Get("width").As<Napi::Number>();
  const bool record = options.Get("record").ToBoolean();
  const Napi::Array exposures = options.Get("exposures").As<Napi::Array>();
  const int64_t pixels = int64_t{batch} * height * width;
  auto input = std::make_shared<ForwardInput>();
  std::vector<Napi::Value> hold;
  for (uint32_t i = 0; i < exposures.Length(); ++i) {
    const Napi::Float32Array data = exposures.Get(i).As<Napi::Float32Array>();
    if (static_cast<int64_t>(data.ElementLength()) != pixels * 6)
      refuse(env, invalid_argument("exposures: number " + std::to_string(i) + " has " +
                                   std::to_string(data.ElementLength()) + " values, expected " +
                                   std::to_string(pixels * 6) + "."));
    input->exposures.push_back({data.Data(), batch, height, width, 6});
    hold.push_back(data);
  }
  if (options.Get("maskMode").IsArray()) {
    const Napi::Array modes = options.Get("maskMode").As<Napi::Array>();
    for (uint32_t i = 0; i < modes.Length(); ++i)
      input->mask.mode.push_back(modes.Get(i).As<Napi::Number>().Int32Value());
    if (options.Get("maskMap").IsTypedArray()) {
      const Napi::Float32Array map = options.Get("maskMap").As<Napi::Float32Array>();
      if (static_cast<int64_t>(map.ElementLength()) != pixels)
        refuse(env, invalid_argument("maskMap: expected one value a pixel."));
      input->mask.map = map.Data();
      hold.push_back(map);
    }
  }
  if (Status status = check_forward(box->session->config(), *input); !status.ok()) refuse(env, status.error());
  if (record) box->sums = std::make_shared<SharedSums>();
  const Napi::Float32Array result = Napi::Float32Array::New(env, static_cast<size_t>(pixels) * 3);
  hold.push_back(result);
  const auto kept = std::make_shared<Napi::Reference<Napi::Float32Array>>(Napi::Persistent(result));
  const Tensor out{const_cast<float*>(result.Data()), batch, height, width, 3};
  return start_task(
      env, hold, info[2],
      [session = box->session, sums = box->sums, input, out, record](const Progress& progress) {
        SharedSums given;
        if (sums && !record) given = {false, sums->values};
        if (sums) input->sums = record ? sums.get() : &given;
        return session->run(*input, out, &progress);
      },
      [kept](Napi::Env) -> Napi::Value { return kept->Value(); }, !box->session->on_host());
}

/// availableMemory(handle) -> bytes that the session's device could still give; -1: not known
Napi::Value available_memory(const Napi::CallbackInfo& info) {
  const int64_t bytes = info[0].As<Napi::External<SessionBox>>().Data()->session->available_memory();
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

/// cudaDevices() -> { absence, devices: { name, capability, memory, refusal, bf16 }[] }; texts are empty where all is
/// well
Napi::Value cuda_devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const cuda::Machine machine = find_cuda_devices();
  Napi::Array devices = Napi::Array::New(env);
  for (const cuda::DeviceFacts& facts : machine.devices) {
    Napi::Object device = Napi::Object::New(env);
    device.Set("name", facts.name);
    device.Set("capability", facts.capability / 10.0);
    device.Set("memory", static_cast<double>(facts.memory_bytes));
    device.Set("refusal", facts.refusal);
    device.Set("bf16", facts.bf16());
    devices.Set(devices.Length(), device);
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("absence", machine.absence);
  out.Set("devices", devices);
  return out;
}

/// clearSums(handle): later runs take each image's own sums again.
Napi::Value clear_sums(const Napi::CallbackInfo& info) {
  SessionBox* box = info[0].As<Napi::External<SessionBox>>().Data();
  box->sums = nullptr;
  box->session->forget();
  return info.Env().Undefined();
}

}  // namespace

void init_network(Napi::Env env, Napi::Object exports) {
  exports.Set("createSession", Napi::Function::New(env, create_session, "createSession"));
  exports.Set("runSession", Napi::Function::New(env, run_session, "runSession"));
  exports.Set("availableMemory", Napi::Function::New(env, available_memory, "availableMemory"));
  exports.Set("cudaDevices", Napi::Function::New(env, cuda_devices, "cudaDevices"));
  exports.Set("clearSums", Napi::Function::New(env, clear_sums, "clearSums"));
}

}  // namespace smhdr::addon
