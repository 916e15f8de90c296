// The whole network: with all tensors on the device, and from the host's memory to the host's memory; a training step;
// and how far bf16 is from fp32 with the shipped weights.
#include <cmath>

#include "gpu.h"
#include "smhdr/session.h"
#include "smhdr/trainer.h"
#include "test/safetensors.h"

namespace smhdr::bench::gpu {
namespace {

struct Size {
  const char* name;
  int height, width;
};

std::vector<Size> sizes(bool quick) {
  if (quick) return {{"16 x 16", 16, 16}};
  return {{"1504 x 1000", 1000, 1504}, {"6000 x 4000", 4000, 6000}};
}

/// A session's work without its copies.
double resident_seconds(Ops& ops, bool quick, Size size, double* queueing) {
  const RandomNetwork net;
  Tensors tensors(ops);
  ParameterMap parameters;
  for (size_t i = 0; const auto& [name, parameter] : net.parameters) {
    parameters[name] = {parameter.shape, tensors.values(net.storage[i], parameter.size())};
    ++i;
  }
  const Composed composed(net.config, parameters, 3, ops.memory());
  ForwardInput input;
  for (int i = 0; i < 3; ++i) input.exposures.push_back(tensors.make(1, size.height, size.width, 6));
  const Tensor out = tensors.make(1, size.height, size.width, 3);
  return seconds_on(
      ops, quick,
      [&] { check(forward(net.config, parameters, ops, input, out, nullptr, nullptr, nullptr, &composed), "network"); },
      queueing);
}

double session_seconds(const Setting& setting, Precision precision, Size size) {
  const RandomNetwork net;
  auto session = Session::create(net.parameters, std::move(setting.make_ops(precision).value()));
  if (!session.ok()) check(session.error(), "session");
  const RandomBracket bracket(1, size.height, size.width);
  std::vector<float> result(int64_t{3} * size.height * size.width);
  std::vector<double> seconds;
  for (int i = 0; i < (setting.quick ? 1 : 5); ++i)
    seconds.push_back(seconds_of([&] {
      check(session.value()->run(bracket.input, {result.data(), 1, size.height, size.width, 3}), "session");
    }));
  return median(seconds);
}

/// Radiance of waves, and photographs of it two stops apart.
struct Waves {
  std::vector<float> truth;
  std::vector<std::vector<float>> exposures;
  ForwardInput input;
  /// `inputs` of them, the last of which is the truth where a prior is asked for.
  Waves(int inputs, bool prior, int side) : exposures(inputs) {
    const int count = inputs - prior;
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x)
        for (int c = 0; c < 3; ++c)
          truth.push_back(static_cast<float>(
              std::pow(0.5 + 0.25 * (std::sin(0.05 * x + c) + std::sin(0.031 * y + 0.011 * x)), 4) + 1e-4));
    for (int e = 0; e < count; ++e) {
      for (size_t i = 0; i < truth.size(); i += 3) {
        float seen[3];
        for (int c = 0; c < 3; ++c) seen[c] = std::fmin(1.0f, truth[i + c] * std::exp2(2.0f * static_cast<float>(e)));
        for (const float value : seen) exposures[e].push_back(value / std::exp2(2.0f * static_cast<float>(e)));
        for (const float value : seen) exposures[e].push_back(std::pow(value, 1 / 2.2f));
      }
    }
    for (size_t i = 0; prior && i < truth.size(); i += 3) {
      exposures[count].insert(exposures[count].end(), truth.begin() + i, truth.begin() + i + 3);
      for (int c = 0; c < 3; ++c) exposures[count].push_back(static_cast<float>(mu_law(truth[i + c])));
    }
    for (const auto& exposure : exposures) input.exposures.push_back({exposure.data(), 1, side, side, 6});
  }
};

}  // namespace

void time_network(const Setting& setting) {
  std::printf("\nnetwork, width 60, four stages of six blocks, three exposures\n");
  std::printf("%-36s %10s %11s %16s %10s\n", "", "ms", "queued, ms", "with copies, ms", "TFLOP/s");
  for (const Size size : sizes(setting.quick))
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      const bool bf16 = precision == Precision::bf16;
      if (bf16 && !setting.bf16) continue;
      double seconds, queueing;
      {
        const auto ops = std::move(setting.make_ops(precision).value());
        seconds = resident_seconds(*ops, setting.quick, size, &queueing);
      }
      const double whole = session_seconds(setting, precision, size);
      std::printf("smnet n=3 %-13s %-12s %10.2f %11.2f %16.1f %10.2f\n", size.name, bf16 ? "bf16" : "fp32",
                  1e3 * seconds, 1e3 * queueing, 1e3 * whole,
                  1e-12 * kForwardFlops * size.height * size.width / seconds);
      std::fflush(stdout);
    }
}

void time_training(const Setting& setting) {
  const int batch = setting.quick ? 1 : 8, side = setting.quick ? 8 : 128;
  const RandomNetwork net;
  TrainerOptions options;
  options.perceptual = Perceptual::structure;
  auto trainer = Trainer::create(net.parameters, options, std::move(setting.make_ops(Precision::fp32).value()),
                                 std::make_shared<ThreadPool>());
  if (!trainer.ok()) check(trainer.error(), "trainer");
  const RandomBracket bracket(batch, side, side);
  const std::vector<float> truth(int64_t{batch} * side * side * 3, 0.25f);
  TrainingBatch given;
  given.exposures = bracket.input.exposures;
  given.truth = {truth.data(), batch, side, side, 3};
  std::vector<double> seconds;
  for (int i = setting.quick ? 0 : -2; i < (setting.quick ? 1 : 9); ++i) {
    const double once = seconds_of([&] {
      const auto result = trainer.value()->step(given, 1e-6);
      if (!result.ok()) check(result.error(), "training step");
    });
    if (i >= 0) seconds.push_back(once);
  }
  std::printf("\ntraining step, fp32, %d of %d x %d: %.1f ms\n", batch, side, side, 1e3 * median(seconds));
}

void compare_precisions(const Setting& setting) {
  if (!setting.bf16) return;
  const int side = setting.quick ? 16 : 512;
  for (const char* name : {"smhdr", "smhdr-s"}) {
    auto stored = test::read_safetensors(std::string("models/") + name + ".safetensors");
    if (stored.empty()) {
      std::printf("models/%s.safetensors is not here: its precision was not compared\n", name);
      continue;
    }
    ParameterMap parameters;
    for (auto& [key, tensor] : stored) parameters[key] = {tensor.shape, tensor.values.data()};
    std::vector<float> results[2];
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      auto session = Session::create(parameters, std::move(setting.make_ops(precision).value()));
      if (!session.ok()) check(session.error(), name);
      const NetworkConfig& config = session.value()->config();
      const Waves waves(config.slots ? config.fold_exposures : 3, config.prior, side);
      std::vector<float>& result = results[precision == Precision::bf16];
      result.resize(int64_t{3} * side * side);
      check(session.value()->run(waves.input, {result.data(), 1, side, side, 3}), name);
    }
    double linear = 0, compressed = 0;
    for (size_t i = 0; i < results[0].size(); ++i) {
      linear += std::pow(double(results[0][i]) - results[1][i], 2);
      compressed += std::pow(mu_law(results[0][i]) - mu_law(results[1][i]), 2);
    }
    const auto decibels = [&](double sum) { return -10 * std::log10(sum / double(results[0].size())); };
    std::printf("bf16 against fp32, %s, %d x %d: PSNR-l %.1f dB, PSNR-mu %.1f dB\n", name, side, side, decibels(linear),
                decibels(compressed));
  }
}

}  // namespace smhdr::bench::gpu
