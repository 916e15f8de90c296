// Taking a network's drift back, against copying what that touches: both pictures and the reference are read, the
// picture is read and written once more.
#include <cstdio>

#include "bench.h"
#include "smhdr/drift.h"

namespace smhdr::bench {
namespace {

Row take_back(Bench& bench) {
  const int64_t width = bench.options.quick ? 300 : 2000, height = bench.options.quick ? 40 : 1500;
  std::vector<float> picture(width * height * 3, 0.3f);
  const std::vector<float> merge(width * height * 3, 0.31f), reference(width * height * 6, 0.5f);
  return bench.against_peaks(variants().front(), 0, double(width * height) * 4 * (3 + 3 + 6 + 3 + 3), [&] {
    auto drift = Drift::create(width, height);
    if (!drift.ok()) return (void)std::fprintf(stderr, "smhdr_bench: %s\n", drift.error().message.c_str());
    Status status = drift.value().measure(0, height, picture.data(), merge.data(), 1, reference.data(), bench.pool);
    drift.value().smooth(bench.pool);
    if (status.ok()) status = drift.value().take_back(0, height, picture.data(), bench.pool);
    if (!status.ok()) std::fprintf(stderr, "smhdr_bench: %s\n", status.error().message.c_str());
  });
}

}  // namespace

void add_drift(Bench& bench) {
  bench.add("kernel/drift", [&bench] { return take_back(bench); });
}

}  // namespace smhdr::bench
