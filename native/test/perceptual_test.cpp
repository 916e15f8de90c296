// The perceptual term and its stand-in against PyTorch's numbers on a small random VGG, and against finite differences.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "ops/ops.h"
#include "safetensors.h"
#include "smhdr/training.h"

using namespace smhdr;
using namespace smhdr::test;

namespace {

using Loss = double (*)(const VggLoss&, Ops&, ConstTensor, ConstTensor, const float*, double, Tensor);
double vgg(const VggLoss& loss, Ops& ops, ConstTensor p, ConstTensor t, const float* w, double scale, Tensor grad) {
  return loss(ops, p, t, w, scale, grad);
}
double structure(const VggLoss&, Ops&, ConstTensor p, ConstTensor t, const float* w, double scale, Tensor grad) {
  return structure_loss(p, t, w, scale, grad);
}

void run(Ops& ops) {
  auto stored = read_safetensors("test/golden/perceptual.safetensors");
  if (!CHECK(!stored.empty())) return;
  ParameterMap weights;
  for (auto& [name, t] : stored)
    if (name.starts_with("features.")) weights[name] = {t.shape, t.values.data()};
  const auto created = VggLoss::create(weights);
  if (!CHECK(created.ok())) return;
  const VggLoss& loss = created.value();
  const auto& shape = stored.at("prediction").shape;
  std::vector<float> picture = stored.at("prediction").values;
  const auto view = [&](float* data) {
    return Tensor{data, static_cast<int>(shape[0]), static_cast<int>(shape[1]), static_cast<int>(shape[2]), 3};
  };
  const ConstTensor truth = view(stored.at("truth").values.data());
  const float* map = stored.at("weights").values.data();
  const auto& losses = stored.at("losses").values;

  const struct {
    const char* name;
    Loss loss;
    float expected;
  } terms[] = {{"vgg", vgg, losses[0]}, {"structure", structure, losses[2]}};
  for (const auto& term : terms) {
    // The gradient is added, scaled.
    std::vector<float> grad(picture.size(), 0.25f);
    const double value = term.loss(loss, ops, view(picture.data()), truth, map, 2, view(grad.data()));
    CHECK(std::fabs(value - term.expected) < 1e-5 * term.expected);
    const auto& expected = stored.at(std::string(term.name) + "_gradient").values;
    double largest = 0, worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::fabs(2.0 * expected[i]));
      worst = std::max(worst, std::fabs(grad[i] - 0.25 - 2.0 * expected[i]));
    }
    CHECK(worst < 1e-4 * largest);
    std::printf("%-10s %-10s %.6f worst %.1e of %.1e\n", ops.name(), term.name, value, worst, largest);
    CHECK(term.loss(loss, ops, view(picture.data()), view(picture.data()), map, 1, {}) == 0);

    // Along a direction, in the mu-law domain so that darkness counts as much as light.
    std::vector<float> plus = picture, minus = picture;
    double slope = 0;
    for (size_t i = 0; i < picture.size(); ++i) {
      const double step = 2e-4 * std::sin(0.37 * double(i) + 1) / mu_law_slope(picture[i]);
      plus[i] = static_cast<float>(picture[i] + step);
      minus[i] = static_cast<float>(std::max(0.0, picture[i] - step));
      slope += (double(plus[i]) - minus[i]) * (grad[i] - 0.25) / 2;
    }
    const double difference = term.loss(loss, ops, view(plus.data()), truth, map, 1, {}) -
                              term.loss(loss, ops, view(minus.data()), truth, map, 1, {});
    // Both terms have kinks (absolute values, ReLU, maxima), some of which lie on the way.
    CHECK(std::fabs(difference - slope) < 0.05 * std::fabs(slope));
    std::printf("%-10s %-10s finite difference %.3e, gradient %.3e\n", ops.name(), term.name, difference, slope);
  }
  CHECK(std::fabs(vgg(loss, ops, view(picture.data()), truth, nullptr, 1, {}) - losses[1]) < 1e-5 * losses[1]);
}

void run_bad_weights() {
  auto stored = read_safetensors("test/golden/perceptual.safetensors");
  ParameterMap weights;
  for (auto& [name, t] : stored) weights[name] = {t.shape, t.values.data()};
  weights.erase("features.10.bias");
  auto created = VggLoss::create(weights);
  CHECK(!created.ok() && created.error().message.find("features.10.weight") != std::string::npos);
  weights["features.10.bias"] = {{1}, stored.at("features.10.bias").values.data()};
  created = VggLoss::create(weights);
  CHECK(!created.ok() && created.error().code == ErrorCode::invalid_argument);
}

}  // namespace

int main() {
  run(*make_reference_ops());
  ThreadPool pool(2);
  run(*make_cpu_ops(pool));
  run_bad_weights();
  return finish();
}
