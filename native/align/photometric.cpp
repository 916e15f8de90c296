#include "align/photometric.h"

#include <algorithm>
#include <cmath>

#include "align/pyramid.h"

namespace smhdr::align {
namespace {

constexpr int kCells = 512;
constexpr int kMostBins = 24;
constexpr int64_t kFewestPairs = 32;
constexpr size_t kMostPairs = 12'000;    // 500 in each bin tell a median
constexpr float kSmallestSigma = 0.01f;  // one part in a hundred: below it, interpolation and tone curves differ
constexpr float kResidualRange = 2.0f;   // natural-log units to either side

/// Where a cumulative count reaches `share` of the total, in cells, linear inside a cell.
float quantile(const int* counts, int64_t total, float share) {
  const float wanted = share * float(total);
  const int reached = int(std::ceil(wanted));
  int before = 0;
  for (int cell = 0; cell < kCells; before += counts[cell++])
    if (counts[cell] > 0 && before + counts[cell] >= reached)
      return float(cell) + (wanted - float(before)) / float(counts[cell]);
  return float(kCells);
}

int cell_of(float value, float lowest, float cells_per_unit) {
  return std::clamp(int((value - lowest) * cells_per_unit), 0, kCells - 1);
}
const float kCellsPerUnit = float(kCells) / (kHighestValue - kLowestValue);
constexpr float kResidualCells = float(kCells) / (2.0f * kResidualRange);

/// Pools neighbours that decrease until the sequence is non-decreasing (pool adjacent violators).
void make_monotone(std::vector<float>& values, const std::vector<int64_t>& weights) {
  struct Pool {
    double sum, weight;
    size_t count;
  };
  std::vector<Pool> pools;
  for (size_t i = 0; i < values.size(); ++i) {
    pools.push_back({double(values[i]) * double(weights[i]), double(weights[i]), 1});
    while (pools.size() > 1) {
      Pool &last = pools.back(), &previous = pools[pools.size() - 2];
      if (previous.sum * last.weight <= last.sum * previous.weight) break;
      previous = {previous.sum + last.sum, previous.weight + last.weight, previous.count + last.count};
      pools.pop_back();
    }
  }
  size_t i = 0;
  for (const Pool& pool : pools)
    for (size_t k = 0; k < pool.count; ++k) values[i++] = float(pool.sum / pool.weight);
}

}  // namespace

float Photometric::position_of(float reference) {
  return std::clamp((reference - kLowestValue) * kCellsPerUnit, 0.0f, 0.9999f * float(kCells));
}

bool Photometric::fit(std::span<const float> positions, std::span<const float> values) {
  const size_t stride = std::max<size_t>(1, values.size() / kMostPairs);
  const auto for_pairs = [&](const auto& body) {
    for (size_t i = 0; i < values.size(); i += stride)
      if (!std::isnan(values[i])) body(positions[i], values[i]);
  };
  int cells[kCells] = {};
  int64_t pairs = 0;
  for_pairs([&](float position, float) { ++cells[int(position)], ++pairs; });
  if (pairs < kFewestPairs) return false;

  // Bins of about equal population, made of whole cells.
  const int64_t wanted_bins = std::clamp<int64_t>(pairs / 64, 1, kMostBins);
  int bin_of_cell[kCells];
  int64_t seen = 0, full = 0;
  int bins = 0;
  for (int cell = 0; cell < kCells; ++cell) {
    if (seen - full >= pairs / wanted_bins && bins + 1 < wanted_bins) ++bins, full = seen;
    bin_of_cell[cell] = bins;
    seen += cells[cell];
  }
  ++bins;

  histogram_.assign(size_t(bins) * kCells, 0);
  int64_t count[kMostBins] = {};
  double sum[kMostBins] = {};
  for_pairs([&](float position, float value) {
    const int bin = bin_of_cell[int(position)];
    ++histogram_[bin * kCells + cell_of(value, kLowestValue, kCellsPerUnit)];
    ++count[bin];
    sum[bin] += position;
  });
  centre_.clear(), value_.clear();
  std::vector<int64_t> weight;
  int kept[kMostBins];
  for (int bin = 0; bin < bins; ++bin) {
    if (count[bin] == 0) continue;
    kept[bin] = int(centre_.size());
    centre_.push_back(float(sum[bin] / double(count[bin])));
    value_.push_back(kLowestValue + quantile(&histogram_[bin * kCells], count[bin], 0.5f) / kCellsPerUnit);
    weight.push_back(count[bin]);
  }
  make_monotone(value_, weight);

  inverse_sigma_.assign(centre_.size(), 1.0f);
  tabulate();
  std::fill(histogram_.begin(), histogram_.end(), 0);
  for_pairs([&](float position, float value) {
    const int bin = kept[bin_of_cell[int(position)]];
    ++histogram_[bin * kCells + cell_of(value - predict(position).value, -kResidualRange, kResidualCells)];
  });
  for (size_t bin = 0; bin < centre_.size(); ++bin) {
    const int* counts = &histogram_[bin * kCells];
    const float spread = (quantile(counts, weight[bin], 0.75f) - quantile(counts, weight[bin], 0.25f)) / kResidualCells;
    // The quartiles of a normal distribution lie 1.349 standard deviations apart.
    inverse_sigma_[bin] = 1.0f / std::max(spread / 1.349f, kSmallestSigma);
  }
  tabulate();
  return true;
}

void Photometric::tabulate() {
  table_.resize(kCells + 1);
  const size_t n = centre_.size();
  size_t i = 1;
  for (int cell = 0; cell <= kCells; ++cell) {
    if (n == 1) {
      table_[cell] = {value_[0], inverse_sigma_[0]};
      continue;
    }
    const float position = float(cell);
    while (i + 1 < n && centre_[i] < position) ++i;
    // Beyond the outer bins the curve goes on straight, for a bin or so.
    const float t = std::clamp((position - centre_[i - 1]) / std::max(centre_[i] - centre_[i - 1], 1e-4f), -1.0f, 2.0f);
    const float u = std::clamp(t, 0.0f, 1.0f);
    table_[cell] = {value_[i - 1] + t * (value_[i] - value_[i - 1]),
                    inverse_sigma_[i - 1] + u * (inverse_sigma_[i] - inverse_sigma_[i - 1])};
  }
}

}  // namespace smhdr::align
