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

/// `folded`: exposures of a learnt fold into three slots; 0: none.
Model random_model(bool prior = false, int folded = 0) {
  Model model;
  model.config.prior = prior;
  if (folded) model.config.slots = 3, model.config.fold_exposures = folded;
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
void test_composed(bool special) {
  ThreadPool pool(2);
  for (auto [n, h, w, batch] :
       {std::tuple{3, 64, 72, 1}, {2, 72, 136, 2}, {6, 80, 64, 1}, {4, 64, 64, 1}, {5, 64, 72, 1}, {7, 64, 64, 1}}) {
    const Model model = random_model(special, special ? n : 0);
    Picture picture(n, h, w, batch);
    const Composed composed(model.config, model.parameters, n);
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

/// A learnt fold that picks exposures 0, 2, 4 of five, each in the published way, is the network of those three. Any
/// other number of exposures is refused.
void test_fold() {
  const Model plain = random_model();
  Model folded = random_model(false, 5);
  const int c = 24;
  float* weight = folded.parameters.at("fold.weight").data;
  std::fill_n(weight, 3 * 8 * 5 * c, 0.0f);
  for (int slot = 0; slot < 3; ++slot)
    for (int j = 0; j < 8; ++j)
      for (int group = 0; group < 3; ++group) weight[((slot * 8 + j) * 5 + 2 * slot) * c + 8 * group + j] = 1.0f / 3;
  for (const auto& [name, parameter] : plain.parameters) {
    int64_t count = 1;
    for (int64_t d : parameter.shape) count *= d;
    std::copy_n(parameter.data, count, folded.parameters.at(name).data);
  }
  Picture five(5, 64, 64), three(3, 64, 64);
  for (int i = 0; i < 3; ++i) three.input.exposures[i] = five.input.exposures[2 * i];
  for (const Model* model : std::initializer_list<const Model*>{&plain, &folded}) {
    auto session = Session::create(model->parameters, std::make_shared<ThreadPool>(2));
    Picture& picture = model == &plain ? three : five;
    CHECK(session.ok() && session.value()->run(picture.input, picture.out).ok());
    if (model == &plain) continue;
    const Status refused = session.value()->run(three.input, three.out);
    CHECK(!refused.ok() && refused.error().message.find("made for 5; 3 came") != std::string::npos);
  }
  double worst = 0;
  for (size_t i = 0; i < five.result.size(); ++i)
    worst = std::max(worst, std::abs(double(five.result[i]) - three.result[i]));
  CHECK(worst < 1e-4);
}

/// A network whose gate is open is its prior, the last exposure, with a tape or without; its reference is the middle
/// one of the others. Without a fold that takes the prior in, it is refused.
void test_prior() {
  Model model = random_model(true, 4);
  std::fill_n(model.parameters.at("conv_end.weight").data, 4 * 24 * 9, 0.0f);
  const float bias[4] = {0.3f, -1, 2, 60};
  std::copy_n(bias, 4, model.parameters.at("conv_end.bias").data);
  const NetworkConfig config = NetworkConfig::infer(model.parameters).value();
  CHECK(config.prior && config.reference(4) == 1 && config.reference(3) == 1 && config.reference(6) == 2);
  ThreadPool pool(2);
  Picture picture(4, 64, 72);
  const auto ops = make_cpu_ops(pool);
  std::vector<float> logits(64 * 72 * 4), expected(picture.result.size());
  for (size_t gate = 3; gate < logits.size(); gate += 4) logits[gate] = 60;
  ops->prior({{logits.data(), 1, 64, 72, 4}, picture.input.exposures[3], {expected.data(), 1, 64, 72, 3}});
  const Composed composed(model.config, model.parameters, 4);
  Tape tape;
  for (int way = 0; way < 3; ++way) {
    CHECK(forward(model.config, model.parameters, *ops, picture.input, picture.out, nullptr, nullptr,
                  way == 1 ? &tape : nullptr, way == 2 ? &composed : nullptr)
              .ok());
    double worst = 0;
    for (size_t i = 0; i < expected.size(); ++i)
      worst = std::max(worst, std::abs(double(picture.result[i]) - expected[i]));
    CHECK(worst < 1e-6);
  }
  const auto short_of_one = Session::create(model.parameters, std::make_shared<ThreadPool>(1));
  Picture three(3, 64, 72);
  const Status few = short_of_one.value()->run(three.input, three.out);
  CHECK(!few.ok() && few.error().message.find("made for 3 and a merge of them") != std::string::npos);
  model.parameters.erase("fold.weight");
  const auto refused = NetworkConfig::infer(model.parameters);
  CHECK(!refused.ok() && refused.error().message.find("fold.weight") != std::string::npos);
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

  test_composed(false);
  test_composed(true);
  test_prior();
  test_fold();
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
