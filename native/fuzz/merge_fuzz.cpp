// Any options, alignments and pixels: an error value, or radiance in [0, 1], whatever the strips.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "smhdr/merge.h"

using namespace smhdr;

namespace {

/// The rows of every exposure that a strip needs, each in memory of its own, so that a step beside it is noticed.
struct Strip {
  std::vector<std::vector<uint8_t>> memory;
  std::vector<ExposureRows> rows;

  Strip(const RadianceMerger& merger, int exposures, int64_t y0, int64_t y1, int64_t row_bytes, int64_t height,
        const std::vector<uint8_t>& bytes) {
    memory.resize(exposures);
    for (int i = 0; i < exposures; ++i) {
      const RowSpan span = merger.source_rows(i, y0, y1);
      if (span.begin < 0 || span.end < span.begin || span.end > height) std::abort();
      memory[i].resize((span.end - span.begin) * row_bytes);
      for (size_t k = 0; k < memory[i].size() && !bytes.empty(); ++k)
        memory[i][k] = bytes[(k + size_t(span.begin * row_bytes) + size_t(i)) % bytes.size()];
      rows.push_back({memory[i].data(), span.begin, span.end});
    }
  }
};

/// x^gamma at so many codes. Kept: a large one takes longer than merging.
const std::vector<float>& transfer_table(size_t codes, int gamma) {
  static std::map<std::pair<size_t, int>, std::vector<float>> tables;
  std::vector<float>& table = tables[{codes, gamma}];
  for (size_t i = table.size(); i < codes; ++i)
    table.push_back(std::pow(float(i) / float(std::max<size_t>(1, codes - 1)), float(gamma)));
  return table;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static ThreadPool pool(1);
  FuzzedDataProvider from(data, size);
  MergeOptions options;
  options.width = from.ConsumeIntegralInRange<int64_t>(0, 48);
  options.height = from.ConsumeIntegralInRange<int64_t>(0, 48);
  options.depth = PixelDepth(from.ConsumeIntegralInRange(0, 2));
  const int exposures = from.ConsumeIntegralInRange(1, 4);
  options.reference = from.ConsumeIntegralInRange(-1, 4);
  options.calibrate = from.ConsumeBool();
  const bool wild = from.ConsumeBool();
  for (int i = 0; i < exposures; ++i) {
    MergeExposure exposure;
    exposure.exposure_value = i == 0 ? 0 : from.ConsumeFloatingPointInRange<double>(0, 41);
    if (from.ConsumeBool()) {
      exposure.alignment.emplace();
      for (int k = 0; k < 9; ++k)
        (*exposure.alignment)[k] =
            wild ? from.ConsumeFloatingPoint<double>()
                 : (k % 4 == 0 ? 1 : 0) + from.ConsumeFloatingPointInRange<double>(-1, 1) * (k == 2 || k == 5 ? 20
                                                                                             : k > 5          ? 0.01
                                                                                                              : 0.2);
    }
    options.exposures.push_back(exposure);
  }
  std::stable_sort(options.exposures.begin(), options.exposures.end(),
                   [](const auto& a, const auto& b) { return a.exposure_value < b.exposure_value; });
  const int gamma = from.ConsumeIntegralInRange(0, 4);
  const size_t codes = options.depth == PixelDepth::uint8    ? 256
                       : options.depth == PixelDepth::uint16 ? 65536
                                                             : from.ConsumeIntegralInRange<size_t>(0, 3);
  options.transfer = transfer_table(codes, gamma);
  const int64_t strip = from.ConsumeIntegralInRange<int64_t>(3, 40), width = options.width, height = options.height;
  const int64_t row_bytes = width * 3 *
                            (options.depth == PixelDepth::uint8    ? 1
                             : options.depth == PixelDepth::uint16 ? 2
                                                                   : 4);
  const bool analysed = from.ConsumeBool();
  const std::vector<uint8_t> bytes = from.ConsumeRemainingBytes<uint8_t>();

  auto created = RadianceMerger::create(options);
  if (!created.ok()) return 0;
  RadianceMerger& merger = created.value();
  if (analysed) {
    for (const RowSpan& band : merger.analysis_bands()) {
      const Strip rows(merger, exposures, band.begin, band.end, row_bytes, height, bytes);
      if (!merger.analyse(band, rows.rows).ok()) std::abort();
    }
    merger.finish_analysis();
  }
  for (int64_t y0 = 0; y0 < height; y0 += strip) {
    const int64_t y1 = std::min(height, y0 + strip);
    const Strip rows(merger, exposures, y0, y1, row_bytes, height, bytes);
    std::vector<float> out((y1 - y0) * width * 3, -1.0f);
    if (!merger.merge(y0, y1, rows.rows, out.data(), pool).ok()) std::abort();
    for (const float value : out)
      if (!(value >= 0 && value <= 1)) std::abort();
  }
  return 0;
}
