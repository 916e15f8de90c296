// Taking colour noise away, against copying the picture: it is read and written. What three exposures differ by is
// measured beside it.
#include <cstdio>
#include <vector>

#include "bench.h"
#include "random_network.h"
#include "smhdr/colour_noise.h"

namespace smhdr::bench {
namespace {

Row take_away(Bench& bench) {
  const int64_t width = bench.options.quick ? 300 : 2000, height = bench.options.quick ? 40 : 1500;
  std::vector<float> picture = random_values(width * height * 3, 0.01f, 0.3f);
  const std::vector<float> rows = random_values(ColourNoise::kSquare * width * 6, 0.01f, 0.3f);
  return bench.against_peaks(variants().front(), 0, double(width * height) * 4 * (3 + 3), [&] {
    Result<ColourNoise> noise = ColourNoise::create(width, height, {0, 2, 4});
    Status status = noise.ok() ? Status() : noise.error();
    const auto squares = int64_t(noise.ok() ? noise.value().tops().size() : 0);
    for (int64_t i = 0; status.ok() && i < squares; ++i)
      status = noise.value().measure(i, {rows.data(), rows.data(), rows.data()}, bench.pool);
    if (status.ok()) status = noise.value().take_away(picture.data(), bench.pool);
    if (!status.ok()) std::fprintf(stderr, "smhdr_bench: %s\n", status.error().message.c_str());
  });
}

}  // namespace

void add_colour_noise(Bench& bench) {
  bench.add("kernel/colour_noise", [&bench] { return take_away(bench); });
}

}  // namespace smhdr::bench
