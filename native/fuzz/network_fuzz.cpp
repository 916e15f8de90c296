// Weights of any names and shapes: an error value, or a network of those shapes that reconstructs any pixels.
#include <fuzzer/FuzzedDataProvider.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <vector>

#include "smhdr/network.h"
#include "smhdr/session.h"

using namespace smhdr;

namespace {

NetworkConfig tiny(FuzzedDataProvider& from) {
  NetworkConfig config;
  config.width = 4 * from.ConsumeIntegralInRange(1, 4);
  config.reduced = config.width / 4;
  const int stages = from.ConsumeIntegralInRange(1, 2);
  for (int s = 0; s < stages; ++s)
    config.stages.push_back({from.ConsumeIntegralInRange(1, 2), from.ConsumeIntegralInRange(1, 2)});
  return config;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto pool = std::make_shared<ThreadPool>(1);
  FuzzedDataProvider from(data, size);
  const auto shapes = tiny(from).parameter_shapes();
  ParameterMap parameters;
  std::vector<std::unique_ptr<float[]>> storage;
  const int changes = from.ConsumeIntegralInRange(0, 3);
  std::vector<size_t> changed;
  for (int i = 0; i < changes; ++i) changed.push_back(from.ConsumeIntegralInRange<size_t>(0, shapes.size() - 1));
  size_t index = 0;
  for (const auto& [name, shape] : shapes) {
    Parameter parameter{shape, nullptr};
    bool left_out = false;
    for (const size_t c : changed)
      if (c == index) {
        left_out = from.ConsumeBool();
        if (!parameter.shape.empty())
          parameter.shape[from.ConsumeIntegralInRange<size_t>(0, parameter.shape.size() - 1)] =
              from.ConsumeIntegral<int64_t>();
        if (from.ConsumeBool()) parameter.shape.push_back(from.ConsumeIntegral<int64_t>());
      }
    ++index;
    if (left_out) continue;
    // Memory of what the shape was before: more is not read, since a shape that differs is refused.
    int64_t count = 1;
    for (const int64_t d : shape) count *= d;
    storage.emplace_back(new float[count]);
    for (int64_t i = 0; i < count; ++i) storage.back()[i] = 0.02f * float((i * 7 + int64_t(index)) % 11 - 5);
    parameter.data = storage.back().get();
    parameters[name] = parameter;
  }
  auto session = Session::create(parameters, pool);
  if (!session.ok()) return 0;
  ForwardInput input;
  const int exposures = from.ConsumeIntegralInRange(0, 3), height = from.ConsumeIntegralInRange(0, 17),
            width = 8 * from.ConsumeIntegralInRange(0, 2), channels = from.ConsumeIntegralInRange(5, 6);
  std::vector<std::vector<float>> pixels(exposures, std::vector<float>(size_t(height) * width * channels));
  for (auto& picture : pixels) {
    for (float& value : picture) value = from.ConsumeFloatingPointInRange<float>(0, 1);
    input.exposures.push_back({picture.data(), 1, height, width, channels});
  }
  std::vector<float> out(size_t(height) * width * 3);
  const Status status = session.value()->run(input, {out.data(), 1, height, width, 3});
  if (status.ok())
    for (const float value : out)
      if (!std::isfinite(value)) std::abort();
  return 0;
}
