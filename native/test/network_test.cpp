// What the golden numbers do not cover: independence of the number of threads, shared sums, refusals.
#include <algorithm>
#include <cstring>
#include <random>
#include <tuple>

#include "check.h"
#include "core/cpu_isa.h"
#include "network/composed.h"
#include "smhdr/progress.h"
#include "smhdr/session.h"

using namespace smhdr;

namespace {

struct Model {
  NetworkConfig config;
  std::vector<std::vector<float>> storage;
  ParameterMap parameters;
};

Model random_model() {
  Model model;
  model.config.width = 24;
  model.config.reduced = 6;
  model.config.stages = {{2, 2}, {1, 3}};
  std::mt19937 bits(3);
  std::normal_distribution<float> normal(0, 0.2f);
  for (const auto& [name, shape] : model.config.parameter_shapes()) {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    model.storage.emplace_back(count);
    for (float& v : model.storage.back()) v = normal(bits);
    model.parameters[name] = {shape, model.storage.back().data()};
  }
  return model;
}

struct Picture {
  int height, width;
  std::vector<std::vector<float>> exposures;
  ForwardInput input;
  std::vector<float> result;
  Tensor out;
  Picture(int n, int h, int w, int batch = 1) : height(h), width(w), result(size_t(batch) * h * w * 3) {
    std::mt19937 bits(5);
    std::uniform_real_distribution<float> uniform(0, 1);
    for (int i = 0; i < n; ++i) {
      exposures.emplace_back(size_t(batch) * h * w * 6);
      for (float& v : exposures.back()) v = uniform(bits);
    }
    for (auto& e : exposures) input.exposures.push_back({e.data(), batch, h, w, 6});
    out = {result.data(), batch, h, w, 3};
  }
};

/// Composed convolutions against the convolutions one by one, the frame included.
void test_composed() {
  const Model model = random_model();
  ThreadPool pool(2);
  for (auto [n, h, w, batch] : {std::tuple{3, 64, 72, 1}, {2, 72, 136, 2}, {6, 80, 64, 1}, {4, 64, 64, 1}, {5, 64, 72, 1}, {7, 64, 64, 1}}) {
    Picture picture(n, h, w, batch);
    const Composed composed(model.parameters, n);
    for (const auto& ops : {make_cpu_ops(pool), make_cpu_ops(pool, CpuIsa::generic)}) {
      CHECK(forward(model.config, model.parameters, *ops, picture.input, picture.out).ok());
      const std::vector<float> expected = picture.result;
      CHECK(forward(model.config, model.parameters, *ops, picture.input, picture.out, nullptr, nullptr, nullptr,
                    &composed)
                .ok());
      double worst = 0;
      for (size_t i = 0; i < expected.size(); ++i)
        worst = std::max(worst, std::abs(double(picture.result[i]) - expected[i]));
      // The random body magnifies rounding; a wrong pixel of the frame would be off by a tenth.
      if (!CHECK(worst <= 1e-4)) std::printf("  composed, %d exposures of %d x %d: %g\n", n, w, h, worst);
    }
  }
}

bool mentions(const Status& status, const char* word) {
  return !status.ok() && status.error().message.find(word) != std::string::npos;
}

}  // namespace

int main() {
  Model model = random_model();
  auto created = Session::create(model.parameters, std::make_shared<ThreadPool>(1));
  if (!CHECK(created.ok())) return test::finish();
  Session& session = *created.value();
  CHECK(session.config().stages.size() == 2 && session.config().stages[1].heads == 3);

  test_composed();
  Picture picture(3, 32, 72);
  CHECK(session.run(picture.input, picture.out).ok());
  const std::vector<float> expected = picture.result;
  for (int threads : {2, 5}) {
    auto other = Session::create(model.parameters, std::make_shared<ThreadPool>(threads));
    CHECK(other.value()->run(picture.input, picture.out).ok());
    CHECK(std::memcmp(picture.result.data(), expected.data(), expected.size() * sizeof(float)) == 0);
  }
  std::vector<float> bf16;
  for (int threads : {1, 2, 5}) {
    auto other = Session::create(model.parameters, std::make_shared<ThreadPool>(threads), Precision::bf16);
    if (!cpu_has_bf16()) {
      CHECK(!other.ok() && other.error().code == ErrorCode::unsupported);
      continue;
    }
    CHECK(other.value()->run(picture.input, picture.out).ok());
    if (threads == 1) bf16 = picture.result;
    CHECK(picture.result == bf16 && bf16 != expected);
  }

  // Sums recorded over the whole picture and given back change nothing; over a part they do, but the pass still runs.
  SharedSums sums;
  picture.input.sums = &sums;
  const auto close = [&](double tolerance) {
    for (size_t i = 0; i < expected.size(); ++i)
      if (!(std::abs(picture.result[i] - expected[i]) <= tolerance)) return false;
    return true;
  };
  CHECK(session.run(picture.input, picture.out).ok() && close(1e-5));
  CHECK(sums.values.size() == 5);
  sums.recording = false;
  CHECK(session.run(picture.input, picture.out).ok() && close(1e-5));
  SharedSums wrong;
  wrong.recording = false;
  picture.input.sums = &wrong;
  CHECK(mentions(session.run(picture.input, picture.out), "sums"));
  picture.input.sums = nullptr;

  // Refusals name the argument.
  CHECK(mentions(session.run({}, picture.out), "exposures"));
  Picture many(25, 8, 8), odd(3, 16, 16);
  CHECK(mentions(session.run(many.input, many.out), "exposures"));
  odd.input.exposures[1].height = 12;
  CHECK(mentions(session.run(odd.input, odd.out), "exposures"));
  for (auto& e : odd.input.exposures) e.height = 12;
  CHECK(mentions(session.run(odd.input, odd.out), "multiples of 8"));
  Picture good(3, 16, 16);
  good.out.channels = 4;
  CHECK(mentions(session.run(good.input, good.out), "out"));
  good.out.channels = 3;
  good.input.mask.mode = {1};
  CHECK(mentions(session.run(good.input, good.out), "mask.mode"));
  good.input.mask.mode = {1, 0};
  CHECK(mentions(session.run(good.input, good.out), "mask.map"));
  good.input.mask = {};

  // Cancelled half-way.
  std::atomic<bool> stop{false};
  Progress progress;
  progress.cancelled = &stop;
  progress.report = [&](double fraction) { stop = stop || fraction > 0.3; };
  const Status cancelled = session.run(good.input, good.out, &progress);
  CHECK(!cancelled.ok() && cancelled.error().code == ErrorCode::cancelled);

  // Weights that do not fit.
  const auto refuse = [&](const char* name, auto change) {
    ParameterMap broken = model.parameters;
    change(broken);
    const auto result = Session::create(broken, std::make_shared<ThreadPool>(1));
    CHECK(!result.ok() && result.error().message.find(name) != std::string::npos);
  };
  refuse("conv_first.0.weight", [](ParameterMap& p) { p.erase("conv_first.0.weight"); });
  refuse("norm.bias", [](ParameterMap& p) { p.erase("norm.bias"); });
  refuse("conv_end.weight", [](ParameterMap& p) { p["conv_end.weight"].shape = {3, 23, 3, 3}; });
  std::vector<float> poison(24, NAN);
  refuse("not finite", [&](ParameterMap& p) { p["norm.bias"].data = poison.data(); });
  return test::finish();
}
