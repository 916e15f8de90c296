// What the tests of ops share: shapes that hurt, random weights, and every implementation this machine has.
#pragma once

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "ops/devices.h"
#include "ops/ops.h"

namespace smhdr::test {

// Relative to the largest reference value: fp32 sums of a few hundred terms, exp2 and erf fits of 1e-7 and 4e-7.
constexpr double kTolerance = 5e-6;
// The exponentials of logits of some tens magnify their rounding.
constexpr double kAttentionTolerance = 1.5e-5;

inline std::mt19937 random_bits(1);

inline std::vector<float> random_values(int64_t count, float scale = 1, float offset = 0) {
  std::normal_distribution<float> normal(offset, scale);
  std::vector<float> out(count);
  for (float& v : out) v = normal(random_bits);
  return out;
}

struct Shape {
  int batch, height, width;
};
inline const std::vector<Shape> kAny = {{1, 1, 1},  {1, 1, 7},    {1, 5, 1}, {2, 3, 65},
                                        {1, 9, 64}, {1, 17, 130}, {3, 2, 2}};
inline const std::vector<Shape> kWindows = {{1, 8, 8}, {1, 16, 24}, {2, 24, 40}, {1, 8, 72}, {3, 32, 8}};

// Factors rounded to 8 bits move logits of some tens by tenths, and with them single values: plain rounding, for the
// reference with its factors rounded the same way is as far off at the same values. A mistake shows in the mean.
constexpr double kBf16Tolerance = 0.1, kBf16MeanTolerance = 4e-3;
// Gradients; those of a norm's gain and bias, and of other vectors, are sums of much that cancels.
constexpr double kBf16GradientTolerance = 0.2, kBf16GradientMeanTolerance = 0.01, kBf16VectorMeanTolerance = 0.04;

struct Implementation {
  std::string label;
  std::unique_ptr<Ops> ops;
  double least_tolerance;
};
inline std::vector<Implementation> implementations;

/// Fills `implementations`: every instruction set of this machine, on one thread and on three; bf16 too, if asked for.
inline void find_implementations(bool with_bf16 = false) {
  static ThreadPool one(1), three(3);
  for (CpuIsa isa : kCpuIsas) {
    if (!cpu_has(isa)) {
      ++skipped;
      std::printf("skipped %s: this processor or build has none\n", cpu_isa_name(isa));
      continue;
    }
    implementations.push_back({std::string(cpu_isa_name(isa)) + ", 1 thread", make_cpu_ops(one, isa), 0});
    implementations.push_back({std::string(cpu_isa_name(isa)) + ", 3 threads", make_cpu_ops(three, isa), 0});
  }
  if (!with_bf16) return;
  if (!cpu_has_bf16()) {
    ++skipped;
    std::printf("skipped bf16: this processor or build has none, or SMHDR_ISA rules it out\n");
    return;
  }
  const auto add = [&](const std::string& name, bool matrix_unit) {
    for (ThreadPool* pool : {&one, &three})
      implementations.push_back({name + ", bf16, " + std::to_string(pool->threads()) + " threads",
                                 make_cpu_ops(*pool, CpuIsa::avx512, Precision::bf16, matrix_unit), kBf16Tolerance});
  };
  add("avx512", false);
  if (cpu_has_matrix_unit()) {
    add("amx", true);
  } else {
    ++skipped;
    std::printf("skipped amx: this processor, system or build has none\n");
  }
}

/// Adds the CUDA kernels on the CPU, and on a GPU where there is one (see cuda/shared_new.cpp).
inline void find_cuda_implementations([[maybe_unused]] bool with_bf16 = false) {
#if defined(SMHDR_HAS_CUDA_SHIM)
  implementations.push_back({"cuda (shim)", std::move(cuda::shim::make_ops(0, Precision::fp32).value()), 0});
  if (with_bf16)
    implementations.push_back(
        {"cuda (shim), bf16", std::move(cuda::shim::make_ops(0, Precision::bf16).value()), kBf16Tolerance});
#else
  ++skipped;
  std::printf("skipped cuda (shim): not in this build\n");
#endif
  static ThreadPool unused(1);
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const bool bf16 = precision == Precision::bf16;
    if (bf16 && !with_bf16) continue;
    auto ops = make_ops("cuda", unused, precision);
    if (ops.ok()) {
      implementations.push_back({bf16 ? "cuda, bf16" : "cuda", std::move(ops.value()), bf16 ? kBf16Tolerance : 0});
      continue;
    }
    ++skipped;
    std::printf("skipped cuda: %s\n", ops.error().message.c_str());
  }
}

/// Runs `op` on the reference and on every implementation, from the same start values of `out`.
inline void compare(const std::string& name, int64_t out_size, const std::function<void(Ops&, float*)>& op,
                    double tolerance = kTolerance) {
  const std::vector<float> start = random_values(out_size);
  std::vector<float> expected = start;
  op(*make_reference_ops(), expected.data());
  double scale = 1e-6;
  for (float v : expected) scale = std::max(scale, std::fabs(double(v)));
  for (auto& [label, ops, least] : implementations) {
    std::vector<float> got = start;
    op(*ops, got.data());
    if (Status status = ops->finish(); !status.ok()) {
      CHECK(status.ok());
      std::printf("  %s on %s: %s\n", name.c_str(), label.c_str(), status.error().message.c_str());
      continue;
    }
    double worst = 0, squares = 0;
    for (int64_t i = 0; i < out_size; ++i) {
      const double d = std::fabs(double(got[i]) - expected[i]) / scale;
      if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
      squares += d * d;
    }
    const double mean = std::sqrt(squares / double(out_size)), limit = std::max(tolerance, least);
    if (!CHECK(worst <= limit && mean <= std::min(limit, kBf16MeanTolerance)))
      std::printf("  %s on %s: %g, root mean square %g\n", name.c_str(), label.c_str(), worst, mean);
  }
}

inline std::string label(const char* op, Shape s, int channels) {
  return std::string(op) + " " + std::to_string(s.batch) + "x" + std::to_string(s.height) + "x" +
         std::to_string(s.width) + "x" + std::to_string(channels);
}

struct Weights {
  std::vector<std::vector<float>> kept;
  const float* operator()(int64_t count, float scale = 0.3f, float offset = 0) {
    kept.push_back(random_values(count, scale, offset));
    return kept.back().data();
  }
  NormWeights norm(int channels) { return {(*this)(channels, 0.2f, 1), (*this)(channels)}; }
};

}  // namespace smhdr::test
