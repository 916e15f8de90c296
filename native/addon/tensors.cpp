#include "tensors.h"

#include <algorithm>

#include "worker.h"

namespace smhdr::addon {

ParameterMap read_tensors(const Napi::Object& tensors) {
  ParameterMap parameters;
  const Napi::Array names = tensors.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).As<Napi::String>();
    const Napi::Object tensor = tensors.Get(name).As<Napi::Object>();
    const Napi::Array shape = tensor.Get("shape").As<Napi::Array>();
    const Napi::Float32Array data = tensor.Get("data").As<Napi::Float32Array>();
    Parameter parameter;
    int64_t count = 1;
    for (uint32_t d = 0; d < shape.Length(); ++d) {
      parameter.shape.push_back(shape.Get(d).As<Napi::Number>().Int64Value());
      count *= parameter.shape.back();
    }
    if (count != static_cast<int64_t>(data.ElementLength()))
      throw to_js(tensors.Env(), invalid_argument("weights: " + name + " has " + std::to_string(data.ElementLength()) +
                                                  " values, its shape asks for " + std::to_string(count) + "."));
    parameter.data = const_cast<float*>(data.Data());
    parameters[name] = parameter;
  }
  return parameters;
}

Napi::Object write_tensors(Napi::Env env, const std::map<std::string, std::vector<int64_t>>& shapes,
                           const std::vector<float>& values) {
  Napi::Object out = Napi::Object::New(env);
  const float* next = values.data();
  for (const auto& [name, shape] : shapes) {
    Napi::Array dimensions = Napi::Array::New(env);
    int64_t count = 1;
    for (int64_t d : shape) {
      dimensions.Set(dimensions.Length(), static_cast<double>(d));
      count *= d;
    }
    Napi::Float32Array data = Napi::Float32Array::New(env, static_cast<size_t>(count));
    std::copy_n(next, count, data.Data());
    next += count;
    Napi::Object tensor = Napi::Object::New(env);
    tensor.Set("shape", dimensions);
    tensor.Set("data", data);
    out.Set(name, tensor);
  }
  return out;
}

}  // namespace smhdr::addon
