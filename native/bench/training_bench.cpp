// A training step: configuration A, three exposures, batch 2 of 128 x 128, nothing masked, no drop path: forward with
// its tape, mu-law loss, backward, Adam on every parameter.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>

#include "bench.h"
#include "random_network.h"
#include "smhdr/training.h"
#include "test/safetensors.h"

namespace smhdr::bench {
namespace {

class Training {
 public:
  Training(ThreadPool& pool, const Variant& variant, NetworkConfig config, ParameterMap parameters, ForwardInput input,
           std::vector<float> truth)
      : ops_(variant.make_ops(pool)),
        config_(std::move(config)),
        parameters_(std::move(parameters)),
        input_(std::move(input)),
        truth_(std::move(truth)),
        out_(truth_.size()),
        grad_(truth_.size()),
        sums_(parameters_),
        first_(parameters_),
        second_(parameters_) {}

  double loss = 0, gradient_norm = 0;
  int64_t tape_bytes = 0;

  Status step() {
    const auto picture = [&](auto* values) {
      const ConstTensor& like = input_.exposures[0];
      return View<std::remove_reference_t<decltype(*values)>>{values, like.batch, like.height, like.width, 3};
    };
    Tape tape;
    for (auto& sum : sums_.storage) std::fill(sum.begin(), sum.end(), 0.0f);
    if (Status s = forward(config_, parameters_, *ops_, input_, picture(out_.data()), nullptr, nullptr, &tape); !s.ok())
      return s;
    tape_bytes = tape.bytes();
    loss = mu_law_loss(picture(std::as_const(out_).data()), picture(std::as_const(truth_).data()), nullptr, 0,
                       picture(grad_.data()));
    if (Status s = backward(config_, parameters_, *ops_, input_, tape, picture(std::as_const(out_).data()),
                            picture(std::as_const(grad_).data()), sums_.map);
        !s.ok())
      return s;
    ++steps_;
    double squares = 0;
    auto first = first_.map.begin(), second = second_.map.begin(), parameter = parameters_.begin();
    for (const auto& [name, sum] : sums_.map) {
      const int64_t count = count_of(sum.shape);
      for (int64_t i = 0; i < count; ++i) squares += double(sum.data[i]) * sum.data[i];
      adam_step({}, steps_, count, sum.data, first++->second.data, second++->second.data, parameter++->second.data);
    }
    gradient_norm = std::sqrt(squares);
    return {};
  }

 private:
  std::unique_ptr<Ops> ops_;
  NetworkConfig config_;
  ParameterMap parameters_;
  ForwardInput input_;
  std::vector<float> truth_, out_, grad_;
  Accumulators sums_, first_, second_;
  int64_t steps_ = 0;
};

Row train(Bench& bench, const Variant& variant) {
  const int side = bench.options.quick ? 16 : 128;
  RandomNetwork net;
  const RandomBracket bracket(2, side, side);
  std::vector<float> truth(int64_t{2} * side * side * 3, 0.25f);
  Training training(bench.pool, variant, net.config, net.parameters, bracket.input, std::move(truth));
  const auto step = [&] {
    if (const Status status = training.step(); !status.ok())
      std::fprintf(stderr, "smhdr_bench: %s\n", status.error().message.c_str());
  };
  const int64_t memory = bench.memory_of(step), pixels = int64_t{2} * side * side;
  // Counted as three forward passes, as is usual: what backward computes again is not.
  Row row = bench.against_peaks(variant, 3 * kForwardFlops * double(pixels), 0, step);
  row.memory_bytes = memory;
  row.tape_bytes_per_pixel = training.tape_bytes / pixels;
  return row;
}

int fail(const std::string& message) {
  std::printf("{\"error\":\"%s\"}\n", message.c_str());
  return 1;
}

}  // namespace

void add_training(Bench& bench) {
  for (const Variant& variant : variants())
    bench.add("train/2x128" + (variant.name == "fp32" ? std::string() : "/" + variant.name),
              [&bench, variant] { return train(bench, variant); });
}

/// WEIGHTS INPUT TRUTH OUTPUT BATCH HEIGHT WIDTH THREADS PRECISION: says {"ready": ...}, then does one step for every
/// line on stdin and answers with its seconds and the process's peak memory. For a line "check" it also writes the loss
/// and the gradient's norm, two float32, to OUTPUT. INPUT: three exposures [batch, height, width, 6], one after the
/// other; TRUTH: [batch, height, width, 3].
int race_training(int argc, char** argv) {
  if (argc != 9) return fail("--race training: nine arguments are expected");
  auto stored = test::read_safetensors(argv[0]);
  ParameterMap parameters;
  for (auto& [name, tensor] : stored) parameters[name] = {tensor.shape, tensor.values.data()};
  const auto config = NetworkConfig::infer(parameters);
  if (!config.ok()) return fail(config.error().message);
  const int batch = std::atoi(argv[4]), height = std::atoi(argv[5]), width = std::atoi(argv[6]);
  const int64_t pixels = int64_t{batch} * height * width;
  const auto read = [](const char* path, int64_t count) {
    std::vector<float> values(count);
    std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(values.data()), count * 4);
    return values;
  };
  const std::vector<float> values = read(argv[1], pixels * 18);
  ForwardInput input;
  for (int i = 0; i < 3; ++i) input.exposures.push_back({values.data() + i * pixels * 6, batch, height, width, 6});
  ThreadPool pool(std::atoi(argv[7]));
  const auto all = variants();
  const auto variant = std::find_if(all.begin(), all.end(), [&](const Variant& each) { return each.name == argv[8]; });
  if (variant == all.end()) return fail("no such precision on this machine: " + std::string(argv[8]));
  Training training(pool, *variant, config.value(), parameters, input, read(argv[2], pixels * 3));
  std::printf("{\"ready\":\"smhdr_bench\"}\n");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    Status status;
    const double seconds = seconds_of([&] { status = training.step(); });
    if (!status.ok()) return fail(status.error().message);
    if (line == "check") {
      const float found[] = {static_cast<float>(training.loss), static_cast<float>(training.gradient_norm)};
      std::ofstream(argv[3], std::ios::binary).write(reinterpret_cast<const char*>(found), sizeof found);
    }
    std::printf("{\"seconds\":%.6g,\"peakBytes\":%lld}\n", seconds, static_cast<long long>(peak_memory()));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace smhdr::bench
