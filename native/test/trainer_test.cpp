// The trainer: initial weights, falling loss, bit-exact resuming, frozen parameters, clipping, the guard against what
// is not finite, and results that do not depend on the number of threads.
#include "smhdr/trainer.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "check.h"
#include "core/cpu_isa.h"
#include "smhdr/progress.h"
#include "train/random.h"

using namespace smhdr;
using namespace smhdr::test;

namespace {

constexpr int kBatch = 2, kSize = 24, kExposures = 3;

NetworkConfig small_config() {
  NetworkConfig config;
  config.width = 12;
  config.stages = {{2, 1}, {2, 2}};
  config.reduced = 3;
  return config;
}

/// Weights and views of them by name.
struct Weights {
  std::vector<float> values;
  ParameterMap map;
  explicit Weights(const NetworkConfig& config, uint64_t seed = 7) : values(initial_weights(config, seed)) {
    float* next = values.data();
    for (const auto& [name, shape] : config.parameter_shapes()) {
      map[name] = {shape, next};
      int64_t count = 1;
      for (int64_t d : shape) count *= d;
      next += count;
    }
  }
};

/// A made-up batch: radiance of a few waves, and its photographs at 0, 2 and 4 stops.
struct Batch {
  std::vector<std::vector<float>> exposures;
  std::vector<float> truth, weights, mask;
  TrainingBatch batch;
  explicit Batch(uint64_t seed) {
    const int64_t pixels = int64_t{kBatch} * kSize * kSize;
    for (int64_t i = 0; i < pixels; ++i) {
      weights.push_back(static_cast<float>(0.5 + uniform(seed)));
      mask.push_back(uniform(seed) < 0.5 ? 0.0f : 1.0f);
      for (int c = 0; c < 3; ++c)
        truth.push_back(static_cast<float>(std::pow(0.5 + 0.5 * std::sin(0.1 * double(i) + c), 4) * 0.9 + 0.001));
    }
    for (int e = 0; e < kExposures; ++e) {
      exposures.emplace_back();
      for (int64_t i = 0; i < pixels; ++i) {
        float light[3], code[3];
        for (int c = 0; c < 3; ++c) {
          const double seen = std::fmin(1, truth[i * 3 + c] * std::exp2(2 * e) + 0.01 * uniform(seed));
          light[c] = static_cast<float>(seen / std::exp2(2 * e));
          code[c] = static_cast<float>(std::pow(seen, 1 / 2.2));
        }
        exposures.back().insert(exposures.back().end(), light, light + 3);
        exposures.back().insert(exposures.back().end(), code, code + 3);
      }
      batch.exposures.push_back({exposures.back().data(), kBatch, kSize, kSize, 6});
    }
    for (int e = 0; e < kExposures; ++e) batch.exposures[e].data = exposures[e].data();
    batch.truth = {truth.data(), kBatch, kSize, kSize, 3};
    batch.weights = weights.data();
  }
  Batch(const Batch&) = delete;
};

std::unique_ptr<Trainer> make(const TrainerOptions& options, int threads = 2) {
  Weights weights(small_config());
  auto created = Trainer::create(weights.map, options, std::make_shared<ThreadPool>(threads));
  CHECK(created.ok());
  return std::move(created.value());
}

bool same(const TrainerState& a, const TrainerState& b) {
  const auto bits = [](const std::vector<float>& x, const std::vector<float>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
  };
  return a.steps == b.steps && a.random == b.random && bits(a.parameters, b.parameters) &&
         bits(a.averages, b.averages) && bits(a.first, b.first) && bits(a.second, b.second);
}

void run_initial_weights() {
  NetworkConfig config = small_config();
  config.width = 60;
  config.reduced = 15;
  config.stages = {{2, 6}};
  Weights weights(config);
  CHECK(weights.values == initial_weights(config, 7) && weights.values != initial_weights(config, 8));
  const auto inferred = NetworkConfig::infer(weights.map);
  CHECK(inferred.ok() && inferred.value().width == 60 && inferred.value().reduced == 15);
  const auto moments = [&](const std::string& name) {
    const Parameter& p = weights.map.at(name);
    int64_t count = 1;
    for (int64_t d : p.shape) count *= d;
    double sum = 0, squares = 0, largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      sum += p.data[i];
      squares += double(p.data[i]) * p.data[i];
      largest = std::fmax(largest, std::fabs(p.data[i]));
    }
    struct Moments {
      double mean, deviation, largest;
    };
    return Moments{sum / double(count), std::sqrt(squares / double(count)), largest};
  };
  const std::string block = "layers.0.residual_group.blocks.0.";
  const auto linear = moments(block + "attn.qkv.weight");
  CHECK(std::fabs(linear.deviation - 0.02) < 0.001 && std::fabs(linear.mean) < 0.001);
  CHECK(std::fabs(moments(block + "attn.relative_position_bias_table").deviation - 0.02) < 0.002);
  CHECK(moments(block + "attn.qkv.bias").largest == 0 && moments("mlp.fc1.bias").largest == 0);
  CHECK(moments("norm.weight").mean == 1 && moments("norm.weight").largest == 1 && moments("norm.bias").largest == 0);
  for (const auto& [name, fan] :
       std::map<std::string, int>{{"conv_first.1", 540}, {block + "conv_cnn1", 9}, {block + "cab.mlp.0", 60}}) {
    const double bound = 1 / std::sqrt(double(fan));
    const auto weight = moments(name + ".weight");
    CHECK(weight.largest <= bound && weight.largest > 0.9 * bound);
    CHECK(std::fabs(weight.deviation - bound / std::sqrt(3.0)) < 0.05 * bound);
    const auto bias = moments(name + ".bias");
    CHECK(bias.largest <= bound && bias.largest > 0.5 * bound);
  }
  CHECK(moments("channel_layers.0.attn.q.weight").largest <= 1 / std::sqrt(60.0));
}

/// Products of bfloat16: the same bits on any number of threads, and a loss that falls.
void run_bf16() {
  if (!cpu_has_bf16()) {
    ++skipped;
    std::printf("skipped bf16: this processor or build has none\n");
    return;
  }
  TrainerOptions options;
  options.seed = 5;
  options.precision = Precision::bf16;
  const auto trainer = make(options, 3), other = make(options, 1);
  const Batch batch(3);
  double first = 0, last = 0;
  for (int step = 0; step < 12; ++step) {
    const auto result = trainer->step(batch.batch, 2e-3);
    if (!CHECK(result.ok() && result.value().applied)) return;
    (step ? last : first) = result.value().loss;
    if (step < 3) CHECK(other->step(batch.batch, 2e-3).ok());
    if (step == 2) CHECK(same(trainer->state(), other->state()));
  }
  CHECK(last < 0.9 * first);
}

void run_training() {
  TrainerOptions options;
  options.seed = 11;
  options.perceptual = Perceptual::structure;
  options.perceptual_weight = 0.1;
  options.clip = 1;
  const auto trainer = make(options), other = make(options, 1), resumed = make(options);
  Batch batch(3);
  batch.batch.mask = {{1, 2}, batch.mask.data()};
  double first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    const auto result = trainer->step(batch.batch, 2e-3);
    if (!CHECK(result.ok() && result.value().applied)) return;
    if (step == 0) first = result.value().loss;
    last = result.value().loss;
    CHECK(std::fabs(result.value().loss - result.value().pixel_loss - 0.1 * result.value().perceptual_loss) < 1e-12);
    if (step < 6) CHECK(other->step(batch.batch, 2e-3).ok());
    if (step == 2) CHECK(resumed->restore(trainer->state()).ok());
    if (step > 2 && step < 6) CHECK(resumed->step(batch.batch, 2e-3).ok());
    if (step == 5) {
      CHECK(same(trainer->state(), other->state()));    // threads
      CHECK(same(trainer->state(), resumed->state()));  // stop and resume
    }
  }
  std::printf("loss %.4f -> %.4f\n", first, last);
  CHECK(last < 0.7 * first);
  const TrainerState state = trainer->state();
  CHECK(state.steps == 30 && state.averages != state.parameters);

  // What is not finite changes nothing.
  for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    batch.truth[5] = poison;
    const auto result = trainer->step(batch.batch, 2e-3);
    CHECK(result.ok() && !result.value().applied);
    CHECK(same(state, trainer->state()));
  }
  // Nor does a step that was stopped.
  batch.truth[5] = 0.5f;
  std::atomic<bool> cancelled = true;
  Progress progress;
  progress.cancelled = &cancelled;
  const auto stopped = trainer->step(batch.batch, 2e-3, &progress);
  CHECK(!stopped.ok() && stopped.error().code == ErrorCode::cancelled);
  CHECK(same(state, trainer->state()));
}

/// Gradients through a network with a prior, whose own radiance and gate's logits weigh so much, and a learnt fold, by
/// finite differences.
void run_prior_and_fold(double own_weight, double gate_weight) {
  NetworkConfig config = small_config();
  config.prior = true;
  config.slots = 2;
  config.fold_exposures = kExposures;
  Weights weights(config);
  Batch batch(9);
  TrainerOptions options;
  options.drop_path = 0;
  options.decay = 0;
  options.own_weight = own_weight;
  options.gate_weight = gate_weight;
  options.perceptual = Perceptual::structure;
  options.perceptual_weight = 0.5;
  const auto pool = std::make_shared<ThreadPool>(2);
  const auto step = [&](std::vector<float>* first) {
    const auto trainer = std::move(Trainer::create(weights.map, options, pool).value());
    const double loss = trainer->step(batch.batch, 1e-3).value().loss;
    const TrainerState state = trainer->state();
    if (first) *first = state.first;
    return loss;
  };
  std::vector<float> moments;  // 0.1 of the gradient after one step
  step(&moments);
  size_t at = 0;
  for (const auto& [name, shape] : config.parameter_shapes()) {
    size_t count = 1;
    for (int64_t d : shape) count *= d;
    const size_t stride = name == "conv_end.bias" ? 1 : name == "fold.weight" ? 17 : 0;
    if (stride)
      for (size_t i = at; i < at + count; i += stride) {
        const float kept = weights.values[i], h = 1e-3f;
        weights.values[i] = kept + h;
        const double above = step(nullptr);
        weights.values[i] = kept - h;
        const double below = step(nullptr);
        weights.values[i] = kept;
        const double slope = (above - below) / (2 * h), gradient = moments[i] / 0.1;
        if (!CHECK(std::fabs(slope - gradient) < 0.02 * std::fabs(gradient) + 1e-4))
          std::printf("  %s: %g, by differences %g\n", name.c_str(), gradient, slope);
      }
    at += count;
  }
}

void run_options() {
  Batch batch(5);
  {  // only what is named is trained; its gradient is the one it has among all
    TrainerOptions options;
    options.drop_path = 0;
    options.decay = 0;
    const auto all = make(options);
    options.trained = {"conv_first."};
    const auto some = make(options);
    Weights weights(small_config());
    CHECK(all->step(batch.batch, 1e-3).ok() && some->step(batch.batch, 1e-3).ok());
    const TrainerState after = some->state(), whole = all->state();
    CHECK(after.averages == after.parameters);
    size_t at = 0;
    bool right = true;
    for (const auto& [name, shape] : small_config().parameter_shapes()) {
      int64_t count = 1;
      for (int64_t d : shape) count *= d;
      const bool trained = name.starts_with("conv_first.");
      const float* expected = trained ? whole.parameters.data() + at : weights.values.data() + at;
      right = right && std::equal(expected, expected + count, after.parameters.data() + at);
      if (trained) right = right && !std::equal(expected, expected + count, weights.values.data() + at);
      at += count;
    }
    CHECK(right);
  }
  {  // clipping scales what Adam sees: the moments are those of a gradient of that length
    TrainerOptions options;
    options.drop_path = 0;
    const auto plain = make(options);
    options.clip = 1e-3;
    const auto clipped = make(options);
    const auto a = plain->step(batch.batch, 1e-3), b = clipped->step(batch.batch, 1e-3);
    CHECK(a.ok() && b.ok() && a.value().gradient_norm == b.value().gradient_norm && a.value().gradient_norm > 1e-2);
    double squares = 0;
    for (float m : clipped->state().first) squares += double(m) * m;
    CHECK(std::fabs(std::sqrt(squares) - 0.1 * 1e-3) < 1e-7);
    double plain_squares = 0;
    for (float m : plain->state().first) plain_squares += double(m) * m;
    CHECK(std::fabs(std::sqrt(plain_squares) - 0.1 * a.value().gradient_norm) < 1e-5);
  }
  {  // stochastic depth: other seeds, other steps; none without it
    TrainerOptions options;
    options.drop_path = 0.9;
    options.seed = 1;
    const auto one = make(options);
    options.seed = 2;
    const auto two = make(options);
    double difference = 0;
    for (int i = 0; i < 3; ++i) {
      const auto a = one->step(batch.batch, 0), b = two->step(batch.batch, 0);
      CHECK(a.ok() && b.ok());
      difference += std::fabs(a.value().loss - b.value().loss);
    }
    CHECK(difference > 0);
  }
  const auto refused = [](const TrainerOptions& options, const char* word) {
    Weights weights(small_config());
    const auto created = Trainer::create(weights.map, options, std::make_shared<ThreadPool>(1));
    CHECK(!created.ok() && created.error().code == ErrorCode::invalid_argument &&
          created.error().message.find(word) != std::string::npos);
  };
  TrainerOptions bad;
  bad.trained = {"convfirst"};
  refused(bad, "convfirst");
  bad = {};
  bad.decay = 1;
  refused(bad, "decay");
  bad = {};
  bad.perceptual = Perceptual::vgg;
  refused(bad, "features.0.weight");
  const auto trainer = make({});
  CHECK(!trainer->step(batch.batch, std::nan("")).ok());
  Batch wrong(1);
  wrong.batch.truth.height = 8;
  CHECK(!trainer->step(wrong.batch, 1e-3).ok());
  TrainerState state = trainer->state();
  state.first.pop_back();
  CHECK(!trainer->restore(state).ok());
}

/// A batch worked image by image gives the step that it gives at once, but for rounding.
void run_pieces() {
  Batch batch(9);
  batch.batch.mask = {{1, 2}, batch.mask.data()};
  TrainerOptions options;
  options.drop_path = 0.5;
  options.perceptual = Perceptual::structure;
  options.seed = 4;
  const auto whole = make(options);
  options.tape_bytes = 1;
  const auto pieces = make(options);
  const auto a = whole->step(batch.batch, 1e-3), b = pieces->step(batch.batch, 1e-3);
  if (!CHECK(a.ok() && b.ok())) return;
  CHECK(std::fabs(a.value().loss - b.value().loss) < 1e-6);
  CHECK(std::fabs(a.value().gradient_norm - b.value().gradient_norm) < 1e-4 * a.value().gradient_norm);
  const TrainerState one = whole->state(), other = pieces->state();
  CHECK(one.random == other.random);
  double largest = 0, worst = 0;
  for (size_t i = 0; i < one.first.size(); ++i) {
    // Not fmax: it passes over a NaN, and gcc 12 for Arm breaks down over it.
    const double value = std::fabs(double(one.first[i])), off = std::fabs(double(one.first[i]) - other.first[i]);
    if (value > largest) largest = value;
    if (!(off <= worst)) worst = off;
  }
  CHECK(worst < 1e-4 * largest);
}

}  // namespace

int main() {
  run_initial_weights();
  run_training();
  run_bf16();
  run_options();
  run_prior_and_fold(0, 0);
  run_prior_and_fold(0.7, 0.2);
  run_pieces();
  return finish();
}
