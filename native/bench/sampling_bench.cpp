// Reading a moved and a still exposure as the network takes them, against copying the bytes that touches.
#include <cstdio>

#include "bench.h"
#include "smhdr/sample.h"
#include "synthetic_bracket.h"

namespace smhdr::bench {
namespace {

Row sample(Bench& bench, bool moved) {
  const int64_t width = bench.options.quick ? 300 : 2000, height = bench.options.quick ? 40 : 1500;
  SyntheticBracket bracket(width, height, PixelDepth::uint16, moved);
  SampleOptions options;
  options.width = width, options.height = height, options.depth = PixelDepth::uint16;
  options.transfer = bracket.options.transfer;
  options.alignment = bracket.options.exposures[0].alignment;
  for (int k = 0; k < 4098; ++k) options.curve.push_back(float(k) / 4096);
  const Result<ExposureSampler> sampler = ExposureSampler::create(std::move(options));
  if (!sampler.ok()) {
    std::fprintf(stderr, "smhdr_bench: %s\n", sampler.error().message.c_str());
    return {};
  }
  std::vector<float> out(width * height * 6);
  return bench.against_peaks(variants().front(), 0, double(width * height) * (3 * 2 + 6 * 4), [&] {
    const Status status = sampler.value().sample({0, 0, width, height}, bracket.rows[0], out.data(), bench.pool);
    if (!status.ok()) std::fprintf(stderr, "smhdr_bench: %s\n", status.error().message.c_str());
  });
}

}  // namespace

void add_sampling(Bench& bench) {
  bench.add("kernel/sample/still", [&bench] { return sample(bench, false); });
  bench.add("kernel/sample/moved", [&bench] { return sample(bench, true); });
}

}  // namespace smhdr::bench
