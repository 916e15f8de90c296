// Merging 3 exposures of 24 megapixels without a network, the merge alone, against copying the bytes it must touch.
#include <cstdio>
#include <utility>

#include "bench.h"
#include "synthetic_bracket.h"

namespace smhdr::bench {
namespace {

Row merge(Bench& bench, PixelDepth depth, bool aligned) {
  const int64_t width = bench.options.quick ? 600 : 6000, height = bench.options.quick ? 40 : 4000;
  SyntheticBracket bracket(width, height, depth, aligned);
  const int64_t touched = bracket.bytes;
  Result<RadianceMerger> merger = RadianceMerger::create(std::move(bracket.options));
  if (!merger.ok()) {
    std::fprintf(stderr, "smhdr_bench: %s\n", merger.error().message.c_str());
    return {};
  }
  std::vector<float> out(bracket.samples);
  const auto work = [&] {
    if (const Status status = merger.value().merge(0, height, bracket.rows, out.data(), bench.pool); !status.ok())
      std::fprintf(stderr, "smhdr_bench: %s\n", status.error().message.c_str());
  };
  const auto times = interleaved(bench.rounds(),
                                 {[&] { return bench.meter.copy(touched).seconds; }, [&] { return seconds_of(work); }});
  Row row;
  row.seconds = median(times[1]);
  row.bytes = double(touched);
  row.copy_seconds = median(times[0]);
  // The peak here is the copy.
  std::vector<double> fractions;
  for (int i = 0; i < bench.rounds(); ++i) fractions.push_back(times[0][i] / times[1][i]);
  row.fraction = median(fractions);
  row.bound = "memory";
  return row;
}

}  // namespace

void add_radiance_merge(Bench& bench) {
  bench.add("kernel/radiance_merge/8bit", [&bench] { return merge(bench, PixelDepth::uint8, false); });
  bench.add("kernel/radiance_merge/16bit", [&bench] { return merge(bench, PixelDepth::uint16, false); });
  bench.add("kernel/radiance_merge/aligned", [&bench] { return merge(bench, PixelDepth::uint16, true); });
}

}  // namespace smhdr::bench
