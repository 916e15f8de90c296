// The network against reference numbers made with PyTorch: every output and every traced module, on the reference
// ops and on the CPU kernels of every instruction set this machine has.
#include "golden.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "check.h"
#include "ops/ops.h"

using namespace smhdr;
using test::channels_last;
using test::StoredTensor;

namespace {

struct Case {
  const char *config, *name;
  bool slow;  // left out on the reference ops
};
constexpr Case kCases[] = {{"B", "n3_16x16", false}, {"B", "n3_24x40_b2", false}, {"B", "n2_16x24", false},
                           {"B", "n1_16x16", false}, {"B", "n3_8x8", false},      {"C", "n5_16x24", false},
                           {"C", "n2_16x16", false}, {"D", "n3_16x16", false},    {"D", "n1_16x16", false},
                           {"A", "n5_32x48", false}, {"A", "n3_64x64", true},     {"A", "n3_128x128", true}};

/// Largest difference from a stored trace, whose layout its rank and the value's shape tell.
double difference(ConstTensor value, const StoredTensor& stored) {
  std::vector<float> expected = stored.values;
  const bool planar = stored.shape.size() == 4;
  if (planar) expected = channels_last(stored, 0, stored.shape[1]);
  if (static_cast<int64_t>(expected.size()) != value.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double d = std::fabs(double(value.data[i]) - expected[i]);
    if (!(d <= largest)) largest = std::isnan(d) ? INFINITY : d;
  }
  return largest;
}

struct Comparison final : Trace {
  const std::map<std::string, StoredTensor>* stored;
  int compared = 0;
  double worst = 0;
  void record(const std::string& name, ConstTensor value) override {
    const auto it = stored->find("trace." + name);
    if (it == stored->end()) return;
    double scale = 1;  // relative to the tensor's largest value where that exceeds 1
    for (float v : it->second.values) scale = std::max(scale, std::fabs(double(v)));
    const double d = difference(value, it->second) / scale;
    if (!(d <= 1e-4)) std::printf("  trace %s: %g\n", name.c_str(), d);
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
    ++compared;
  }
};

void run(const Case& c, Ops& ops, bool every_trace, double tolerance = 1e-4) {
  test::Golden golden(c.config, c.name);
  if (!golden.found) {
    ++test::skipped;
    std::printf("skipped %s %s: no reference numbers in %s\n", c.config, c.name, test::golden_folder().c_str());
    return;
  }
  const auto& data = golden.data;
  std::vector<float> result(int64_t{golden.batch} * golden.height * golden.width * 3);
  const Tensor out = golden.picture(result.data(), 3);
  const char* outputs[] = {"out_nomask", "out_hardmask", "out_importance"};
  for (int mode = 0; mode < 3; ++mode) {
    golden.set_mask(mode);
    Comparison traces;
    traces.stored = &data;
    std::fill(result.begin(), result.end(), NAN);
    CHECK(forward(golden.config, golden.parameters, ops, golden.input, out, mode == 0 ? &traces : nullptr).ok());
    const double d = difference(out, data.at(outputs[mode]));
    CHECK(d <= tolerance);
    if (mode == 0) {
      CHECK(traces.worst <= tolerance);
      int stored = 0;
      for (const auto& [name, t] : data) stored += name.rfind("trace.", 0) == 0;
      // Fused kernels have no inner values to show: they report whole modules only.
      CHECK(every_trace ? traces.compared == stored : traces.compared >= stored / 2);
      std::printf("%-10s %s %-12s traces %2d worst %.1e\n", ops.name(), c.config, c.name, traces.compared,
                  traces.worst);
    }
    std::printf("%-10s %s %-12s %-14s max error %.1e\n", ops.name(), c.config, c.name, outputs[mode], d);
  }
}

}  // namespace

int main() {
  auto reference = make_reference_ops();
  for (const Case& c : kCases)
    if (!c.slow) run(c, *reference, true);
  ThreadPool pool(3);
  for (CpuIsa isa : kCpuIsas) {
    if (!cpu_has(isa)) {
      ++test::skipped;
      std::printf("skipped %s: this processor or build has none\n", cpu_isa_name(isa));
      continue;
    }
    auto ops = make_cpu_ops(pool, isa);
    for (const Case& c : kCases) run(c, *ops, false);
  }
  if (cpu_has_bf16()) {
    // The reference weights are random and large: a trained network is far closer (BENCHMARKS.md).
    for (bool matrix_unit : {false, true}) {
      if (matrix_unit && !cpu_has_matrix_unit()) continue;
      auto ops = make_cpu_ops(pool, CpuIsa::avx512, Precision::bf16, matrix_unit);
      for (const Case& c : kCases) run(c, *ops, false, 0.05);
    }
  } else {
    ++test::skipped;
    std::printf("skipped bf16: this processor or build has none\n");
  }
  return test::finish();
}
