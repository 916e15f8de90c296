#include "align/photometric.h"

#include <algorithm>
#include <cmath>

#include "align/pyramid.h"

namespace smhdr::align {
namespace {

constexpr int kCells = 512;
constexpr int kMostBins = 24;
constexpr int64_t kFewestPairs = 32;
constexpr float kSmallestSigma = 0.01f;  // one part in a hundred: below it, interpolation and tone curves differ
constexpr float kResidualRange = 2.0f;   // natural-log units to either side

/// Where a cumulative count reaches `share` of the total, in cells, linear inside a cell.
float quantile(const int* counts, int64_t total, float share) {
  const float wanted = share * float(total);
  int64_t before = 0;
  for (int cell = 0; cell < kCells; ++cell) {
    if (counts[cell] > 0 && float(before + counts[cell]) >= wanted)
      return float(cell) + (wanted - float(before)) / float(counts[cell]);
    before += counts[cell];
  }
  return float(kCells);
}

int cell_of(float value, float lowest, float highest) {
  return std::clamp(int((value - lowest) / (highest - lowest) * float(kCells)), 0, kCells - 1);
}

float value_of(float cell, float lowest, float highest) { return lowest + cell / float(kCells) * (highest - lowest); }

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

bool Photometric::fit(const std::vector<float>& reference, const std::vector<float>& values) {
  std::vector<int> cells(kCells);
  int64_t pairs = 0;
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isnan(values[i])) ++cells[cell_of(reference[i], kLowestValue, kHighestValue)], ++pairs;
  if (pairs < kFewestPairs) return false;

  // Bins of about equal population, made of whole cells.
  const int64_t wanted_bins = std::clamp<int64_t>(pairs / 64, 1, kMostBins);
  std::vector<int> bin_of_cell(kCells);
  int64_t seen = 0, full = 0;
  int bins = 0;
  for (int cell = 0; cell < kCells; ++cell) {
    if (seen - full >= pairs / wanted_bins && bins + 1 < wanted_bins) ++bins, full = seen;
    bin_of_cell[cell] = bins;
    seen += cells[cell];
  }
  ++bins;

  std::vector<int> histogram(size_t(bins) * kCells);
  std::vector<int64_t> count(bins);
  std::vector<double> sum(bins);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    const int bin = bin_of_cell[cell_of(reference[i], kLowestValue, kHighestValue)];
    ++histogram[size_t(bin) * kCells + cell_of(values[i], kLowestValue, kHighestValue)];
    ++count[bin];
    sum[bin] += reference[i];
  }
  centre_.clear(), value_.clear();
  std::vector<int64_t> weight;
  std::vector<int> kept(bins, -1);
  for (int bin = 0; bin < bins; ++bin) {
    if (count[bin] == 0) continue;
    kept[bin] = int(centre_.size());
    centre_.push_back(float(sum[bin] / double(count[bin])));
    value_.push_back(
        value_of(quantile(&histogram[size_t(bin) * kCells], count[bin], 0.5f), kLowestValue, kHighestValue));
    weight.push_back(count[bin]);
  }
  make_monotone(value_, weight);

  inverse_sigma_.assign(centre_.size(), 1.0f);
  tabulate();
  std::fill(histogram.begin(), histogram.end(), 0);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    const int bin = kept[bin_of_cell[cell_of(reference[i], kLowestValue, kHighestValue)]];
    const float residual = values[i] - predict(reference[i]).value;
    ++histogram[size_t(bin) * kCells + cell_of(residual, -kResidualRange, kResidualRange)];
  }
  for (size_t bin = 0; bin < centre_.size(); ++bin) {
    const int* counts = &histogram[bin * kCells];
    const float spread = (quantile(counts, weight[bin], 0.75f) - quantile(counts, weight[bin], 0.25f)) *
                         (2.0f * kResidualRange / float(kCells));
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
    const float reference = value_of(float(cell), kLowestValue, kHighestValue);
    while (i + 1 < n && centre_[i] < reference) ++i;
    // Beyond the outer bins the curve goes on straight, for a bin or so.
    const float t =
        std::clamp((reference - centre_[i - 1]) / std::max(centre_[i] - centre_[i - 1], 1e-6f), -1.0f, 2.0f);
    const float u = std::clamp(t, 0.0f, 1.0f);
    table_[cell] = {value_[i - 1] + t * (value_[i] - value_[i - 1]),
                    inverse_sigma_[i - 1] + u * (inverse_sigma_[i] - inverse_sigma_[i - 1])};
  }
}

Photometric::Prediction Photometric::predict(float reference) const {
  const float cell =
      std::clamp((reference - kLowestValue) / (kHighestValue - kLowestValue), 0.0f, 0.9999f) * float(kCells);
  const int i = int(cell);
  const float t = cell - float(i);
  const Prediction &a = table_[i], &b = table_[i + 1];
  return {a.value + t * (b.value - a.value), a.inverse_sigma + t * (b.inverse_sigma - a.inverse_sigma)};
}

}  // namespace smhdr::align
