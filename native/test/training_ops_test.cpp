// The losses, the gradients' norm and Adam on devices that have their own, against the host's.
#include <utility>

#include "op_comparison.h"
#include "smhdr/training.h"

#if defined(SMHDR_HAS_CUDA_SHIM)
#include "ops/cuda/shim/runtime.h"
#endif

using namespace smhdr;
using namespace smhdr::test;

namespace {

/// Relative to the largest expected value.
void compare_values(const char* what, const Implementation& on, const std::vector<float>& got,
                    const std::vector<float>& expected, double tolerance) {
  double scale = 1e-12, worst = 0;
  for (float v : expected) scale = std::max(scale, std::fabs(double(v)));
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::fabs(double(got[i]) - expected[i]) / scale;
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
  }
  if (!CHECK(got.size() == expected.size() && worst <= tolerance))
    std::printf("  %s on %s: %g\n", what, on.label.c_str(), worst);
}

void test_losses(const Implementation& on, Shape s, bool weighted, double squared) {
  const int64_t pixels = int64_t{s.batch} * s.height * s.width, size = 3 * pixels;
  std::vector<float> prediction = random_values(size), truth = random_values(size), weights = random_values(pixels);
  for (float& v : prediction) v = std::fabs(v);
  for (float& v : truth) v = std::fabs(v);
  for (int64_t i = 0; i < size; i += 7) prediction[i] = truth[i];  // no difference: no gradient
  const auto view = [&](std::vector<float>& v) { return Tensor{v.data(), s.batch, s.height, s.width, 3}; };
  const float* w = weighted ? weights.data() : nullptr;
  const auto close = [&](const char* what, double got, double expected) {
    if (!CHECK(std::fabs(got - expected) <= 1e-9 * expected + 1e-15))
      std::printf("  %s on %s: %.12g, not %.12g\n", what, on.label.c_str(), got, expected);
  };
  std::vector<float> got(size, 5.0f), expected(size, -5.0f);
  double loss = mu_law_loss(view(prediction), view(truth), w, squared, view(expected));
  close("mu-law", on.ops->mu_law_loss(view(prediction), view(truth), w, squared, view(got)), loss);
  CHECK(on.ops->finish().ok());
  compare_values("mu-law", on, got, expected, 1e-6);
  close("mu-law alone", on.ops->mu_law_loss(view(prediction), view(truth), w, squared, {}), loss);

  got = expected = random_values(size, 1e-3f);  // added to
  loss = structure_loss(view(prediction), view(truth), w, 0.3, view(expected));
  close("structure", on.ops->structure_loss(view(prediction), view(truth), w, 0.3, view(got)), loss);
  CHECK(on.ops->finish().ok());
  compare_values("structure", on, got, expected, 1e-6);
  close("structure alone", on.ops->structure_loss(view(prediction), view(truth), w, 0.3, {}), loss);
  prediction[size / 2] = NAN;
  CHECK(std::isnan(on.ops->mu_law_loss(view(prediction), view(truth), w, squared, view(got))));
}

/// The reference's gradient against finite differences.
void test_loss_gradient(double squared) {
  std::vector<float> prediction = {0.001f, 0.02f, 0.4f, 0.3f, 0.9f, 2.0f}, grad(6);
  const std::vector<float> truth = {0.002f, 0.01f, 0.41f, 0.7f, 0.1f, 1.0f}, weights = {0.5f, -1.5f};
  const auto loss = [&](float* into) {
    const auto view = [](auto* data) { return View<std::remove_pointer_t<decltype(data)>>{data, 1, 1, 2, 3}; };
    return mu_law_loss(view(std::as_const(prediction).data()), view(truth.data()), weights.data(), squared, view(into));
  };
  loss(grad.data());
  for (size_t i = 0; i < prediction.size(); ++i) {
    const float at = prediction[i], above = at * 1.001f, below = at * 0.999f;
    prediction[i] = above;
    const double more = loss(nullptr);
    prediction[i] = below;
    const double slope = (more - loss(nullptr)) / (double{above} - below);
    prediction[i] = at;
    if (!CHECK(std::fabs(grad[i] - slope) <= 1e-4 * std::fabs(slope)))
      std::printf("  squared %g, value %zu: %g, not %g\n", squared, i, grad[i], slope);
  }
}

void test_adam(const Implementation& on, int64_t count) {
  struct State {
    std::vector<float> first, second, parameter, average;
  };
  State expected{std::vector<float>(count), std::vector<float>(count), random_values(count), random_values(count)};
  State got = expected;
  for (int step = 1; step <= 3; ++step) {
    const std::vector<float> gradient = random_values(count, 0.1f);
    const double norm = on.ops->squared_norm(gradient.data(), count);
    double squares = 0;
    for (float g : gradient) squares += double(g) * g;
    CHECK(std::fabs(norm - squares) <= 1e-12 * squares);
    const auto run = [&](Ops& ops, State& s) {
      AdamArgs args{{}, step, count, gradient.data(), s.first.data(), s.second.data(), s.parameter.data()};
      args.average = step == 2 ? nullptr : s.average.data();
      args.pull = step == 3 ? 1.0f : 0.1f;
      ops.adam_step(args);
    };
    run(*make_reference_ops(), expected);
    run(*on.ops, got);
    CHECK(on.ops->finish().ok());
    compare_values("first moment", on, got.first, expected.first, 1e-6);
    compare_values("second moment", on, got.second, expected.second, 1e-6);
    compare_values("parameter", on, got.parameter, expected.parameter, 1e-6);
    compare_values("average", on, got.average, expected.average, 1e-6);
    if (step == 3) CHECK(got.average == got.parameter);
  }
}

#if defined(SMHDR_HAS_CUDA_SHIM)
/// What a failed device returns is NaN, and finish() says why.
void test_failure() {
  const auto ops = std::move(cuda::shim::make_ops(0, Precision::fp32).value());
  const std::vector<float> values(12, 0.5f);
  const size_t left = std::exchange(cuda_shim::machine.memory_left, 0);
  const ConstTensor picture{values.data(), 1, 2, 2, 3};
  CHECK(std::isnan(ops->squared_norm(values.data(), 12)));
  CHECK(std::isnan(ops->mu_law_loss(picture, picture, nullptr, 0, {})));
  CHECK(std::isnan(ops->structure_loss(picture, picture, nullptr, 1, {})));
  const Status status = ops->finish();
  CHECK(!status.ok() && status.error().code == ErrorCode::out_of_memory);
  cuda_shim::machine.memory_left = left;
  CHECK(ops->mu_law_loss(picture, picture, nullptr, 0, {}) == 0 && ops->finish().ok());
}

/// Gradients of five heads of 12 take more shared memory than compute capability 7.5 has: an error that says so.
void test_lack_of_shared_memory() {
  const size_t bytes = std::exchange(cuda_shim::machine.shared_bytes, size_t{64} << 10);
  const auto ops = std::move(cuda::shim::make_ops(0, Precision::fp32).value());
  Weights weights;
  std::vector<float> x = random_values(64 * 60), grad(x.size(), 7.0f);
  AttentionArgs forward{};
  forward.x = {x.data(), 1, 8, 8, 60};
  forward.weights = {
      weights.norm(60), weights(3 * 60 * 60), weights(3 * 60), weights(60 * 60), weights(60), weights(225 * 5), 5};
  forward.out = {grad.data(), 1, 8, 8, 60};
  ops->window_attention(forward);
  CHECK(ops->finish().ok() && grad[0] != 7.0f);
  grad[0] = 7.0f;
  ops->window_attention_backward({forward, {x.data(), 1, 8, 8, 60}, {}, forward.out});
  const Status status = ops->finish();
  CHECK(!status.ok() && status.error().code == ErrorCode::unsupported && grad[0] == 7.0f &&
        status.error().message.find("64 KiB of shared memory") != std::string::npos);
  if (!status.ok()) std::printf("%s\n", status.error().message.c_str());
  cuda_shim::machine.shared_bytes = bytes;
}
#endif

}  // namespace

int main() {
  for (const double squared : {0.0, 20.0}) test_loss_gradient(squared);
  find_cuda_implementations();
  for (const Implementation& on : implementations) {
    for (Shape s : {Shape{1, 1, 1}, {1, 1, 9}, {1, 6, 1}, {2, 3, 5}, {2, 16, 24}, {1, 333, 301}})
      for (const bool weighted : {false, true})
        for (const double squared : {0.0, 20.0}) test_losses(on, s, weighted, squared);
    for (const int64_t count : {1, 300, 600000}) test_adam(on, count);
  }
#if defined(SMHDR_HAS_CUDA_SHIM)
  test_failure();
  test_lack_of_shared_memory();
#endif
  return finish();
}
