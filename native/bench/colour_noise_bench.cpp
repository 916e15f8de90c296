// Taking colour noise away, against copying the picture: it is read and written.
#include <cstdio>

#include "bench.h"
#include "random_network.h"
#include "smhdr/colour_noise.h"

namespace smhdr::bench {
namespace {

Row take_away(Bench& bench) {
  const int64_t width = bench.options.quick ? 300 : 2000, height = bench.options.quick ? 40 : 1500;
  std::vector<float> picture = random_values(width * height * 3, 0.01f, 0.3f);
  return bench.against_peaks(variants().front(), 0, double(width * height) * 4 * (3 + 3), [&] {
    const Status status = take_colour_noise_away(picture.data(), height, width, bench.pool);
    if (!status.ok()) std::fprintf(stderr, "smhdr_bench: %s\n", status.error().message.c_str());
  });
}

}  // namespace

void add_colour_noise(Bench& bench) {
  bench.add("kernel/colour_noise", [&bench] { return take_away(bench); });
}

}  // namespace smhdr::bench
