// Numbers of exposures that do not divide the width, against PyTorch (bench/pytorch/any_inputs.py): the output, the
// gradients of the input, of the extractor and of the attention between exposures.
#include <algorithm>
#include <cmath>
#include <string>

#include "check.h"
#include "golden.h"
#include "ops/ops.h"

using namespace smhdr;
using namespace smhdr::test;

namespace {

const char* const kFolder = "test/golden/";
const char* const kParameters[] = {"conv_first.0.weight", "conv_first.2.bias", "channel_layers.1.attn.q.weight",
                                   "channel_layers.1.attn.k.weight"};

void compare(const std::string& label, const std::vector<float>& got, const std::vector<float>& expected,
             double relative) {
  double largest = 0, difference = 0;
  for (float v : expected) largest = std::max(largest, std::fabs(double(v)));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double d = std::fabs(double(got[i]) - expected[i]);
    if (!(d <= difference)) difference = d;
  }
  // A reference of one channel has no say in the attention: what the file holds for q is noise.
  if (!CHECK(got.size() == expected.size() && difference <= relative * largest + 1e-6))
    std::printf("  %s: %g of %g\n", label.c_str(), difference, largest);
}

void run(Ops& ops, const std::string& config_name, int count) {
  const std::string name = config_name + "_n" + std::to_string(count);
  auto weights = read_safetensors(kFolder + config_name + "_weights.safetensors");
  const auto numbers = read_safetensors(std::string(kFolder) + "any_inputs.safetensors");
  if (!CHECK(!weights.empty() && numbers.count(name + "/input"))) return;
  ParameterMap parameters, gradients;
  for (auto& [key, t] : weights) parameters[key] = {t.shape, t.values.data()};
  const NetworkConfig config = NetworkConfig::infer(parameters).value();

  const StoredTensor& stored = numbers.at(name + "/input");
  const int height = static_cast<int>(stored.shape[2]), width = static_cast<int>(stored.shape[3]);
  ForwardInput input;
  std::vector<std::vector<float>> exposures, input_sums(count, std::vector<float>(size_t(height) * width * 6)), sums;
  std::vector<Tensor> input_gradients;
  for (int i = 0; i < count; ++i) exposures.push_back(channels_last(stored, 6 * i, 6));
  for (int i = 0; i < count; ++i) {
    input.exposures.push_back({exposures[i].data(), 1, height, width, 6});
    input_gradients.push_back({input_sums[i].data(), 1, height, width, 6});
  }
  sums.reserve(std::size(kParameters));
  for (const char* key : kParameters) {
    sums.emplace_back(weights.at(key).values.size());
    gradients[key] = {weights.at(key).shape, sums.back().data()};
  }

  std::vector<float> result(size_t(height) * width * 3);
  const Tensor out{result.data(), 1, height, width, 3};
  Tape tape;
  CHECK(forward(config, parameters, ops, input, out, nullptr, nullptr, &tape).ok());
  compare(name + " out", result, channels_last(numbers.at(name + "/out"), 0, 3), 2e-6);
  const std::vector<float> grad_out = channels_last(numbers.at(name + "/grad_out"), 0, 3);
  CHECK(backward(config, parameters, ops, input, tape, out, {grad_out.data(), 1, height, width, 3}, gradients,
                 input_gradients)
            .ok());
  for (size_t i = 0; i < sums.size(); ++i)
    compare(name + " " + kParameters[i], sums[i], numbers.at(name + "/grad/" + kParameters[i]).values, 4e-4);
  for (int i = 0; i < count; ++i)
    compare(name + " input", input_sums[i], channels_last(numbers.at(name + "/grad/input"), 6 * i, 6), 4e-4);
}

}  // namespace

int main() {
  ThreadPool pool(3);
  std::vector<std::unique_ptr<Ops>> all;
  all.push_back(make_reference_ops());
  for (CpuIsa isa : {CpuIsa::generic, CpuIsa::avx2, CpuIsa::avx512})
    if (cpu_has(isa)) all.push_back(make_cpu_ops(pool, isa));
  for (auto& ops : all) {
    for (int count : {2, 4, 7, 9}) run(*ops, "D", count);
    for (int count : {4, 7, 9}) run(*ops, "B", count);
  }
  return finish();
}
