// Sessions and trainers on every device but the host, against the host's: on the CUDA shim, and on a GPU where there is
// one.
#include <atomic>
#include <cmath>
#include <functional>
#include <random>
#include <thread>
#include <utility>

#include "check.h"
#include "ops/devices.h"
#include "smhdr/progress.h"
#include "smhdr/session.h"
#include "smhdr/trainer.h"

#if defined(SMHDR_HAS_CUDA_SHIM)
#include "ops/cuda/shim/runtime.h"
#endif

using namespace smhdr;
using namespace smhdr::test;

namespace {

struct Device {
  const char* label;
  std::function<Result<std::unique_ptr<Ops>>(Precision)> ops;
};

std::shared_ptr<ThreadPool> pool() {
  static const auto pool = std::make_shared<ThreadPool>(2);
  return pool;
}

struct Case {
  const char* name;
  int exposures, height, width, batch;
  bool folded = false;  // a learnt fold into three slots, the last exposure a prior
  int channels = 24;
  int heads[2] = {2, 3};  // of the two stages
};

struct Problem {
  NetworkConfig config;
  std::vector<std::vector<float>> storage;
  ParameterMap parameters;
  ForwardInput input;
  std::vector<float> mask, truth, result;
  TrainingBatch batch;
  Tensor out;

  explicit Problem(const Case& c) {
    config.width = c.channels;
    config.reduced = c.channels / 4;
    config.stages = {{2, c.heads[0]}, {1, c.heads[1]}};
    if (c.folded) {
      config.slots = 3;
      config.fold_exposures = c.exposures;
      config.prior = true;
    }
    std::mt19937 bits(3);
    std::normal_distribution<float> normal(0, 0.1f);
    std::uniform_real_distribution<float> uniform(0, 1);
    const auto make = [&](int64_t count, auto draw) {
      storage.emplace_back(count);
      for (float& v : storage.back()) v = draw(bits);
      return storage.back().data();
    };
    for (const auto& [name, shape] : config.parameter_shapes()) {
      const int64_t count = Parameter{shape}.size();
      parameters[name] = {shape, make(count, normal)};
      if (name.find("norm") != std::string::npos && name.ends_with("weight"))
        for (int64_t i = 0; i < count; ++i) parameters[name].data[i] += 1;
    }
    const int64_t pixels = int64_t{c.batch} * c.height * c.width;
    for (int i = 0; i < c.exposures; ++i)
      input.exposures.push_back({make(pixels * 6, uniform), c.batch, c.height, c.width, 6});
    for (int64_t i = 0; i < pixels; ++i) mask.push_back(uniform(bits) < 0.5f);
    for (int64_t i = 0; i < pixels * 3; ++i) truth.push_back(uniform(bits));
    result.resize(truth.size());
    out = {result.data(), c.batch, c.height, c.width, 3};
    batch.exposures = input.exposures;
    batch.truth = {truth.data(), c.batch, c.height, c.width, 3};
    batch.weights = mask.data();
  }
};

double worst(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(double(a[i]) - b[i]);
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
  }
  return worst;
}

/// False: this device lacks an op, which is no fault of what is tested here.
bool done(const Status& status, const char* what) {
  if (status.ok()) return true;
  if (status.error().code != ErrorCode::unsupported) CHECK(status.ok());
  ++skipped;
  std::printf("%s: %s\n", what, status.error().message.c_str());
  return false;
}

void test_session(const Device& device, const Case& c, Precision precision) {
  Problem problem(c);
  const auto host = std::move(Session::create(problem.parameters, pool()).value());
  auto ops = device.ops(precision);
  if (!CHECK(ops.ok())) return;
  auto created = Session::create(problem.parameters, std::move(ops.value()));
  if (!CHECK(created.ok())) return;
  for (const bool masked : {false, true}) {
    if (masked && c.height >= 64) return;  // once is enough of the composed convolutions
    if (masked) problem.input.mask = {{1, 2}, problem.mask.data()};
    CHECK(host->run(problem.input, problem.out).ok());
    const std::vector<float> expected = problem.result;
    problem.result.assign(expected.size(), NAN);
    if (!done(created.value()->run(problem.input, problem.out), device.label)) return;
    const double d = worst(expected, problem.result);
    if (!CHECK(d <= (precision == Precision::bf16 ? 0.1 : 1e-4)))
      std::printf("  %s, %s: %g\n", device.label, c.name, d);
  }
  problem.input.mask = {};
  // Sums that one run recorded and another is given.
  SharedSums sums;
  problem.input.sums = &sums;
  if (!done(created.value()->run(problem.input, problem.out), device.label)) return;
  const std::vector<float> recorded = problem.result;
  sums.recording = false;
  CHECK(created.value()->run(problem.input, problem.out).ok());
  CHECK(worst(recorded, problem.result) <= (precision == Precision::bf16 ? 0.01 : 1e-5));
}

void check_step(const Device& device, const Case& c, int step, const StepResult& a, const StepResult& b) {
  // After a step the parameters differ: Adam moves one whose gradient is near zero by the whole rate, either way.
  const double drift = step == 0 ? 2e-3 : 1e-2;
  const bool close = CHECK(std::fabs(a.loss - b.loss) < 1e-4 * a.loss) &&
                     CHECK(std::fabs(a.gradient_norm - b.gradient_norm) < drift * a.gradient_norm) &&
                     CHECK(std::fabs(a.perceptual_loss - b.perceptual_loss) < 1e-4 * a.perceptual_loss);
  if (!close)
    std::printf("  %s, %s, step %d: loss %g not %g, gradient %g not %g\n", device.label, c.name, step, b.loss, a.loss,
                b.gradient_norm, a.gradient_norm);
}

void test_trainer(const Device& device, const Case& c) {
  Problem problem(c);
  TrainerOptions options;
  options.seed = 5;
  options.clip = 0.5;
  options.drop_path = 0.3;
  options.perceptual = Perceptual::structure;
  problem.batch.mask = {{1, 2}, problem.mask.data()};
  const auto make = [&] {
    return std::move(
        Trainer::create(problem.parameters, options, std::move(device.ops(Precision::fp32).value()), pool()).value());
  };
  const auto host = std::move(Trainer::create(problem.parameters, options, pool()).value());
  const auto trainer = make(), resumed = make();
  CHECK(trainer->state().parameters == host->state().parameters);
  for (int step = 0; step < 3; ++step) {
    const auto expected = host->step(problem.batch, 1e-3), got = trainer->step(problem.batch, 1e-3);
    if (!got.ok() && !done(got.error(), device.label)) return;
    if (!CHECK(expected.ok() && got.value().applied)) return;
    check_step(device, c, step, expected.value(), got.value());
    if (step == 1) CHECK(resumed->restore(trainer->state()).ok());
  }
  // Adam divides by the gradient: a sign that flips moves a parameter by twice the rate.
  const TrainerState one = host->state(), other = trainer->state();
  CHECK(worst(one.first, other.first) < 1e-3 && one.random == other.random && other.steps == 3);
  CHECK(worst(one.parameters, other.parameters) < 6.1e-3 && worst(one.averages, other.averages) < 6.1e-3);
  // Resumed it arrives at the same bits, and what is not finite changes nothing.
  CHECK(resumed->step(problem.batch, 1e-3).ok() && resumed->state().parameters == other.parameters);
  CHECK(resumed->state().averages == other.averages);
  problem.truth[7] = NAN;
  const auto refused = resumed->step(problem.batch, 1e-3);
  CHECK(refused.ok() && !refused.value().applied && resumed->state().parameters == other.parameters);
}

/// A batch shared with the processor, in unequal parts: the gradient is the whole batch's, and both go on as one.
void test_shared_batch(const Device& device, const Case& c) {
  Problem problem(c);
  TrainerOptions options;
  options.clip = 0.5;
  options.drop_path = 0.3;
  options.perceptual = Perceptual::structure;
  problem.batch.mask = {{1, 2}, problem.mask.data()};
  const auto host = std::move(Trainer::create(problem.parameters, options, pool()).value());
  std::vector<std::unique_ptr<Ops>> devices;
  devices.push_back(make_cpu_ops(*pool()));
  devices.push_back(std::move(device.ops(Precision::fp32).value()));
  devices.push_back(make_cpu_ops(*pool()));
  const auto shared = std::move(Trainer::create(problem.parameters, options, std::move(devices), pool()).value());
  for (int step = 0; step < 2; ++step) {
    const auto expected = host->step(problem.batch, 1e-3), got = shared->step(problem.batch, 1e-3);
    if (!got.ok() && !done(got.error(), device.label)) return;
    if (!CHECK(expected.ok() && got.value().applied)) return;
    check_step(device, c, step, expected.value(), got.value());
  }
  CHECK(worst(host->state().first, shared->state().first) < 1e-3);
  CHECK(shared->state().random == host->state().random);
}

/// Only the extractor is trained, image by image.
void test_frozen(const Device& device, const Case& c) {
  Problem problem(c);
  TrainerOptions options;
  options.trained = {"conv_first.", "fold."};
  if (!c.folded) options.trained.pop_back();
  options.tape_bytes = 1;
  options.decay = 0;
  options.drop_path = 0;
  const auto host = std::move(Trainer::create(problem.parameters, options, pool()).value());
  const auto trainer = std::move(
      Trainer::create(problem.parameters, options, std::move(device.ops(Precision::fp32).value()), pool()).value());
  const auto result = trainer->step(problem.batch, 1e-3);
  if (!result.ok() && !done(result.error(), device.label)) return;
  CHECK(host->step(problem.batch, 1e-3).ok());
  CHECK(worst(host->state().first, trainer->state().first) < 1e-3);
  CHECK(trainer->state().averages == trainer->state().parameters);
}

/// Runs of several threads, on one session and on another beside it, give what each gives alone.
void test_runs_at_once(const std::vector<const Device*>& devices) {
  std::vector<Problem> problems;
  for (const int width : {8, 16, 8, 24}) problems.emplace_back(Case{"at once", 3, 8, width, 1});
  std::vector<std::unique_ptr<Session>> sessions;
  for (const Device* device : devices) {
    auto created = Session::create(problems[0].parameters, std::move(device->ops(Precision::fp32).value()));
    sessions.push_back(std::move(created.value()));
  }
  std::vector<std::vector<float>> expected;
  for (size_t i = 0; i < problems.size(); ++i) {
    problems[i].storage.back().assign(problems[i].storage.back().size(), 0.2f * static_cast<float>(i));  // no two alike
    if (!done(sessions[0]->run(problems[i].input, problems[i].out), devices[0]->label)) return;
    expected.push_back(std::exchange(problems[i].result, std::vector<float>(problems[i].result.size(), NAN)));
    problems[i].out.data = problems[i].result.data();
  }
  for (int round = 0; round < 3; ++round) {
    std::vector<std::thread> threads;
    std::vector<Status> statuses(problems.size());
    for (size_t i = 0; i < problems.size(); ++i)
      threads.emplace_back(
          [&, i] { statuses[i] = sessions[i % sessions.size()]->run(problems[i].input, problems[i].out); });
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < problems.size(); ++i) {
      CHECK(statuses[i].ok() && problems[i].result == expected[i]);
      std::fill(problems[i].result.begin(), problems[i].result.end(), NAN);
    }
  }
}

/// A run that is stopped leaves a session as it was.
void test_stopped_run(const Device& device) {
  Problem problem({"stopped", 3, 8, 16, 1});
  const auto session =
      std::move(Session::create(problem.parameters, std::move(device.ops(Precision::fp32).value())).value());
  if (!done(session->run(problem.input, problem.out), device.label)) return;
  const std::vector<float> expected = problem.result;
  std::atomic<bool> cancelled = true;
  Progress progress;
  progress.cancelled = &cancelled;
  std::vector<float> other(problem.input.exposures[0].size(), 0.25f);
  ForwardInput stopped = problem.input;
  stopped.exposures[0].data = other.data();
  for (int i = 0; i < 3; ++i) {
    const Status status = session->run(stopped, problem.out, &progress);
    CHECK(!status.ok() && status.error().code == ErrorCode::cancelled);
    CHECK(session->run(problem.input, problem.out).ok() && problem.result == expected);
  }
}

#if defined(SMHDR_HAS_CUDA_SHIM)
/// The paper's width trains where a block has the least shared memory (compute capability 7.5).
void test_least_device(const Device& device) {
  const size_t bytes = std::exchange(cuda_shim::machine.shared_bytes, size_t{64} << 10);
  const int before = skipped;
  test_trainer(device, {"width 60, 64 KiB", 3, 8, 8, 1, false, 60, {6, 6}});
  CHECK(skipped == before);
  cuda_shim::machine.shared_bytes = bytes;
}

/// What does not fit is refused, and the session goes on with what does.
void test_lack_of_memory() {
  Problem small({"small", 3, 16, 16, 1}), large({"large", 3, 64, 64, 1});
  auto session =
      std::move(Session::create(small.parameters, std::move(cuda::shim::make_ops(0, Precision::fp32).value())).value());
  if (!done(session->run(small.input, small.out), "shim")) return;
  const std::vector<float> expected = small.result;
  const size_t left = cuda_shim::machine.memory_left;
  for (const size_t bytes : {size_t{50} << 10, size_t{200} << 10, size_t{500} << 10}) {
    cuda_shim::machine.memory_left = bytes;
    const Status status = session->run(large.input, large.out);
    CHECK(!status.ok() && status.error().code == ErrorCode::out_of_memory);
    cuda_shim::machine.memory_left += left - bytes;
    CHECK(session->run(small.input, small.out).ok() && small.result == expected);
  }
  const size_t kept = cuda_shim::machine.memory_left;
  cuda_shim::machine.memory_left = 1000;
  const auto refused = Session::create(small.parameters, std::move(cuda::shim::make_ops(0, Precision::fp32).value()));
  CHECK(!refused.ok() && refused.error().code == ErrorCode::out_of_memory);
  cuda_shim::machine.memory_left = kept;
}
#endif

}  // namespace

int main() {
  std::vector<Device> devices;
#if defined(SMHDR_HAS_CUDA_SHIM)
  devices.push_back({"cuda (shim)", [](Precision precision) { return cuda::shim::make_ops(0, precision); }});
  test_lack_of_memory();
  test_least_device(devices[0]);
  cuda_shim::machine.devices = 2;
  const Device other{"cuda:1 (shim)", [](Precision precision) { return cuda::shim::make_ops(1, precision); }};
  test_runs_at_once({&devices[0], &other});
  cuda_shim::machine.devices = 1;
#endif
  if (find_cuda_devices().absence.empty())
    devices.push_back({"cuda", [](Precision precision) { return make_ops("cuda", *pool(), precision); }});
  else
    ++skipped, std::printf("skipped cuda: %s\n", find_cuda_devices().absence.c_str());
  for (const Device& device : devices) {
    test_runs_at_once({&device});
    test_stopped_run(device);
    // Small pictures: the shim takes a second for what a processor does in a millisecond.
    test_session(device, {"three exposures", 3, 16, 24, 1}, Precision::fp32);
    test_session(device, {"three exposures", 3, 8, 16, 1}, Precision::bf16);
    test_session(device, {"folded, with a prior", 5, 16, 16, 2, true}, Precision::fp32);
    test_session(device, {"composed", 3, 64, 64, 1}, Precision::fp32);
    test_trainer(device, {"three exposures", 3, 8, 16, 2});
    test_trainer(device, {"folded, with a prior", 4, 8, 16, 1, true});
    test_shared_batch(device, {"three exposures", 3, 8, 8, 4});
    test_frozen(device, {"three exposures", 3, 8, 8, 2});
    test_frozen(device, {"folded, with a prior", 4, 8, 8, 2, true});
  }
  return finish();
}
