#include "smhdr/align.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <optional>
#include <string>

#include "align/pyramid.h"
#include "align/refine.h"
#include "align/search.h"
#include "align/warp.h"

namespace smhdr {
namespace {

using namespace align;

constexpr int64_t kMostPixels = 1 << 30;  // of an image, whose pixels the kernels count with 32 bits
constexpr int64_t kShortestSide = 48;     // below it there is too little to judge by
constexpr int64_t kMostPoints = 30'000, kMostCoarsePoints = 12'000;  // textured pixels looked at: finest scale, others
constexpr int64_t kPerspectiveSide = 200;  // longer side from which a scale can tell perspective
constexpr int64_t kJudgedSide = 200;
constexpr std::array<size_t, 3> kCandidates = {24, 6, 3};  // first guesses followed on the coarsest scales
constexpr double kHopeful = 0.6;                           // of the best guess's score: what lies below is not followed
constexpr int64_t kFewestBlocks = 12;
constexpr double kLeastOverlap = 0.03;      // of the held-out texture, seen well by both exposures
constexpr double kFirmOverlap = 0.25;       // below it a match with the reference is checked against a neighbour's
constexpr double kLeastCorrelation = 0.35;  // unrelated pictures stay near 0
constexpr double kStillCorrelation = 0.2;   // enough to say that nothing moved
constexpr double kSignificance = 4;
constexpr double kLeastGain = 0.03;    // of the robust cost: "clearly better" than unaligned
constexpr double kRicherGain = 0.005;  // of the robust cost: what a richer model must bring
// A step shorter than this, in pixels of its scale, ends a fit: where a finer scale goes on, and on the finest.
constexpr double kRough = 0.02, kFine = 0.005;
constexpr int kSimplerSteps = 4;        // what explains the pixels takes fewer; what does not creeps on for long
constexpr int kSettlingSteps = 40;      // of the warp that is taken: it ends by itself
constexpr double kLargestMotion = 0.3;  // of the longer side
constexpr double kWorseRegion = -3;     // significance from which a part of the image got worse
// Mean movement below which pixels are better kept exact than interpolated: in full-resolution pixels; and what can be
// told on a small picture, in its own. Half a pixel already costs a merge several decibels at edges.
constexpr double kStillPixels = 0.15, kStillProxyPixels = 0.05;

/// An exposure at all scales, with its textured pixels once somebody is compared with it.
struct Prepared {
  std::vector<Level> levels;
  std::vector<Selection> points;
};

/// The warp found between two exposures and what the held-out pixels say of it.
struct Found {
  AlignOutcome outcome = AlignOutcome::no_overlap;
  AlignModel model = AlignModel::identity;
  Matrix warp = kIdentity;
  Verdict before, after;
  size_t level = 0;  // the scale that judged

  bool known() const { return outcome == AlignOutcome::still || outcome == AlignOutcome::aligned; }
  /// What is taken of the warp.
  Matrix taken() const { return outcome == AlignOutcome::aligned ? warp : kIdentity; }
};

class Aligner {
 public:
  Aligner(std::span<const AlignImage> images, double scale, ThreadPool& pool, const Progress& progress)
      : images_(images),
        pool_(pool),
        progress_(progress),
        prepared_(images.size()),
        full_(double(images[0].width), double(images[0].height), 1 / scale, 1 / scale),
        scale_(scale) {}

  const Grid& full() const { return full_; }
  bool stopped() const { return progress_.stop(); }

  /// Compares two exposures; the warp maps `fixed` to `moving`. Cut short when cancelled.
  Found align(int64_t fixed, int64_t moving);
  /// Whether the two exposures, aligned before, agree better by their own match than by the warp `other`.
  bool contradicts(int64_t fixed, int64_t moving, const Found& own, const Matrix& other) {
    const Pair p = pair(fixed, moving, own.level);
    return compare(p.points.held_out, look(p, other, pool_), look(p, own.taken(), pool_)).significance > kSignificance;
  }

 private:
  Pair pair(int64_t fixed, int64_t moving, size_t level) {
    const Level& l = prepared_[moving].levels[level];
    return {prepared_[fixed].points[level], l,
            Grid(double(images_[0].width), double(images_[0].height), l.step, l.step)};
  }
  void prepare(int64_t index, bool points) {
    Prepared& p = prepared_[index];
    if (p.levels.empty()) p.levels = build_pyramid(images_[index], pool_);
    if (!points || !p.points.empty()) return;
    p.points.resize(p.levels.size());
    pool_.parallel_for(int64_t(p.levels.size()), [&](int64_t level, int) {
      p.points[level] = select_points(p.levels[level], level == 0 ? kMostPoints : kMostCoarsePoints);
    });
  }
  Matrix coarse(int64_t fixed, int64_t moving);
  bool plausible(const Matrix& warp) const {
    const double moved = full_.distance(kIdentity, warp);
    return moved < kLargestMotion * std::max(full_.columns, full_.rows);
  }

  std::span<const AlignImage> images_;
  ThreadPool& pool_;
  const Progress& progress_;
  std::vector<Prepared> prepared_;
  Grid full_;
  double scale_;
};

/// Many first guesses from the coarsest scale; each of the three coarsest scales refines them and keeps the better
/// ones, so that a texture which repeats is told apart by what does not.
Matrix Aligner::coarse(int64_t fixed, int64_t moving) {
  const size_t last = prepared_[fixed].levels.size() - 1;
  const Pair coarsest = pair(fixed, moving, last);
  std::vector<Matrix> guesses =
      search(prepared_[fixed].levels[last], prepared_[moving].levels[last], coarsest.grid, kCandidates.front(), pool_);
  guesses.insert(guesses.begin(), kIdentity);
  for (size_t round = 0; round < kCandidates.size(); ++round) {
    const Pair p = pair(fixed, moving, last - std::min(last, round));
    struct Rated {
      Matrix warp;
      double score;
    };
    std::vector<Rated> rated;
    const auto is_known = [&](const Matrix& warp) {
      return std::any_of(rated.begin(), rated.end(), [&](const Rated& r) { return p.grid.distance(r.warp, warp) < 1; });
    };
    for (const Matrix& guess : guesses) {
      const Matrix start = round == 0 ? refine(p, guess, AlignModel::translation, 3, kRough, pool_) : guess;
      if (round == 0 && is_known(start)) continue;
      const Matrix warp = refine(p, start, AlignModel::similarity, 5, kRough, pool_);
      if (!plausible(warp) || is_known(warp)) continue;
      const Verdict verdict = judge(p.points.held_out, look(p, warp, pool_));
      rated.push_back({warp, verdict.correlation * std::sqrt(verdict.overlap)});
    }
    // Guesses that cannot be told apart stay in order: the identity first.
    std::stable_sort(rated.begin(), rated.end(), [](const Rated& a, const Rated& b) {
      return std::floor(a.score * 200) > std::floor(b.score * 200);
    });
    const size_t kept = round + 1 < kCandidates.size() ? kCandidates[round + 1] : 1;
    guesses.clear();
    for (size_t i = 0; i < std::min(kept, rated.size()) && rated[i].score >= kHopeful * rated[0].score; ++i)
      guesses.push_back(rated[i].warp);
  }
  return guesses.empty() ? kIdentity : guesses.front();
}

Found Aligner::align(int64_t fixed, int64_t moving) {
  prepare(fixed, true);
  prepare(moving, false);
  Found found;
  Matrix translation = coarse(fixed, moving), similarity = translation, homography = translation;
  const auto& levels = prepared_[fixed].levels;
  for (size_t level = levels.size() > kCandidates.size() ? levels.size() - kCandidates.size() + 1 : levels.size();
       level-- > 0;) {
    if (stopped()) return found;
    const Pair p = pair(fixed, moving, level);
    const int steps = level == 0 ? 8 : 6;
    const double tolerance = level == 0 ? kFine : kRough;
    similarity = refine(p, similarity, AlignModel::similarity, kSimplerSteps, tolerance, pool_);
    if (levels[level].longer_side() < kPerspectiveSide) {
      homography = similarity;
    } else {
      homography = refine(p, homography, AlignModel::homography, steps, tolerance, pool_);
      if (!plausible(homography)) homography = similarity;
    }
  }
  if (!plausible(similarity)) return found;
  const Pair finest = pair(fixed, moving, 0);
  // The similarity's shift at the centre is where the pure translation starts.
  translation = refine(finest, {1, 0, similarity[2], 0, 1, similarity[5], 0, 0, 1}, AlignModel::translation,
                       kSimplerSteps, kFine, pool_);

  struct Looked {
    size_t level;
    Matrix warp;
    View view;
  };
  std::deque<Looked> looked;
  const auto view = [&](size_t level, const Matrix& warp) -> const View& {
    for (const Looked& l : looked)
      if (l.level == level && l.warp == warp) return l.view;
    return looked.emplace_back(level, warp, look(pair(fixed, moving, level), warp, pool_)).view;
  };
  const auto verdict_on = [&](size_t level, const Matrix& warp) {
    return judge(prepared_[fixed].points[level].held_out, view(level, warp));
  };
  // Judged on the scale where the two agree best: in a dark exposure the finest one may show little but noise.
  size_t judged = 0;
  for (size_t level = 0; level < levels.size() && (level == 0 || levels[level].longer_side() >= kJudgedSide); ++level) {
    const Verdict verdict = verdict_on(level, similarity);
    if (level == 0 || verdict.correlation > found.after.correlation) found.after = verdict, judged = level;
  }
  found.level = judged;
  found.before = verdict_on(judged, kIdentity);
  if (found.after.overlap < kLeastOverlap || found.after.blocks < kFewestBlocks) return found;
  const auto compare_on = [&](size_t level, const Matrix& from, const Matrix& to) {
    return compare(prepared_[fixed].points[level].held_out, view(level, from), view(level, to));
  };
  const auto improves = [&](size_t level, const Matrix& from, const Matrix& to, double least_gain) {
    const Comparison c = compare_on(level, from, to);
    return c.significance > kSignificance && c.worst_region > kWorseRegion && c.cost_b < (1 - least_gain) * c.cost_a;
  };

  // A camera that moves shifts or turns the whole picture before it tilts it: unless that alone helps, what a
  // homography explains is something else (a scanner's distortion, things that move).
  const auto take = [&](AlignModel model, const Matrix& warp) { found.model = model, found.warp = warp; };
  const bool shifted = improves(judged, kIdentity, translation, kLeastGain);
  if (shifted) take(AlignModel::translation, translation);
  if (improves(judged, kIdentity, similarity, kLeastGain) &&
      (!shifted || improves(0, translation, similarity, kRicherGain)))
    take(AlignModel::similarity, similarity);
  if (found.model != AlignModel::identity && improves(0, found.warp, homography, kRicherGain) &&
      improves(judged, kIdentity, homography, kLeastGain))
    take(AlignModel::homography, homography);

  if (found.model == AlignModel::identity) {
    // A still camera is recognised even where the richer fits wander because there is hardly any texture.
    const bool still = found.before.correlation > kStillCorrelation && full_.distance(kIdentity, translation) < scale_;
    found.outcome = still ? AlignOutcome::still : AlignOutcome::unreliable;
    if (!still) found.warp = similarity;
    return found;
  }
  // The fits so far were cut short: where exposures share little, steps are small and many. On the finest scale of a
  // dark exposure they may also lead astray.
  const Matrix settled = refine(finest, found.warp, found.model, kSettlingSteps, kFine, pool_);
  const Comparison gain = compare_on(judged, found.warp, settled);
  if (plausible(settled) && gain.cost_b < gain.cost_a) found.warp = settled;
  found.after = verdict_on(judged, found.warp);
  const bool related =
      found.after.correlation > kLeastCorrelation && found.after.correlation >= found.before.correlation;
  if (full_.distances(kIdentity, found.warp).mean < std::max(kStillPixels, kStillProxyPixels * scale_))
    found.outcome = AlignOutcome::still;
  else
    found.outcome = related ? AlignOutcome::aligned : AlignOutcome::unreliable;
  return found;
}

}  // namespace

Result<std::vector<ExposureAlignment>> align_bracket(std::span<const AlignImage> images,
                                                     std::span<const double> exposure_values, int64_t reference,
                                                     double scale, ThreadPool& pool, const Progress& progress) {
  const int64_t n = int64_t(images.size());
  if (n == 0) return invalid_argument("images: expected at least one, got none");
  if (int64_t(exposure_values.size()) != n)
    return invalid_argument("exposure_values: expected " + std::to_string(n) + " (one per image), got " +
                            std::to_string(exposure_values.size()));
  if (reference < 0 || reference >= n)
    return invalid_argument("reference: expected 0 to " + std::to_string(n - 1) + ", got " + std::to_string(reference));
  for (const AlignImage& image : images) {
    if (image.data == nullptr || image.width < 1 || image.height < 1 || image.width != images[0].width ||
        image.height != images[0].height)
      return invalid_argument("images: expected pixels, all of one size");
    if (image.width > kMostPixels / image.height)
      return invalid_argument("images: expected at most " + std::to_string(kMostPixels) + " pixels");
    if (image.channels != 1 && image.channels != 3)
      return invalid_argument("images: expected 1 or 3 channels, got " + std::to_string(image.channels));
  }
  for (const double value : exposure_values)
    if (!std::isfinite(value)) return invalid_argument("exposure_values: expected finite numbers");
  if (!(scale >= 1 && std::isfinite(scale)))
    return invalid_argument("scale: expected at least 1, got " + std::to_string(scale));

  std::vector<ExposureAlignment> results(n);
  for (ExposureAlignment& result : results) result.compared_with = reference;
  if (std::min(images[0].width, images[0].height) < kShortestSide) {
    for (int64_t i = 0; i < n; ++i)
      if (i != reference) results[i].outcome = AlignOutcome::no_overlap;
    return results;
  }

  // Outwards from the reference, so that the neighbour on the way to it is already known.
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  const auto distance = [&](int64_t i) { return std::abs(exposure_values[i] - exposure_values[reference]); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return distance(a) < distance(b); });

  Aligner aligner(images, scale, pool, progress);
  std::vector<Matrix> warps(n, kIdentity);
  for (size_t k = 0; k < order.size(); ++k) {
    const int64_t i = order[k];
    if (i == reference) continue;
    if (progress.stop()) return Error{ErrorCode::cancelled, "Alignment was cancelled."};
    int64_t with = reference;
    Found found = aligner.align(reference, i);
    // The nearest exposure between this one and the reference whose own place is known.
    std::optional<int64_t> neighbour;
    for (size_t j = 0; j < k; ++j) {
      const int64_t c = order[j];
      const bool same_side =
          (exposure_values[c] - exposure_values[reference]) * (exposure_values[i] - exposure_values[reference]) > 0;
      const bool known = results[c].outcome == AlignOutcome::still || results[c].outcome == AlignOutcome::aligned;
      if (c != reference && same_side && known) neighbour = c;
    }
    // Where exposure and reference share little, chance can make a wrong match look right: the neighbour, which shares
    // more with it, then has a say.
    if (neighbour && (!found.known() || found.after.overlap < kFirmOverlap)) {
      const Found link = aligner.align(*neighbour, i);
      const Matrix direct = normalised(multiply(found.taken(), inverse(warps[*neighbour])));
      if (link.known() && (!found.known() || aligner.contradicts(*neighbour, i, link, direct))) {
        found = link;
        with = *neighbour;
        found.warp = normalised(multiply(link.taken(), warps[with]));
        found.model = std::max(link.model, results[with].model);
        found.outcome = found.warp == kIdentity ? AlignOutcome::still : AlignOutcome::aligned;
      }
    }
    ExposureAlignment& result = results[i];
    result.outcome = found.outcome;
    result.compared_with = with;
    result.displacement = aligner.full().distance(kIdentity, found.warp);
    result.agreement_before = found.before.correlation;
    result.agreement_after = found.after.correlation;
    if (found.outcome == AlignOutcome::aligned) {
      warps[i] = found.warp;
      result.model = found.model;
      result.homography = aligner.full().on_pixels(found.warp);
    }
    progress.at(double(k + 1) / double(n));
  }
  if (progress.stop()) return Error{ErrorCode::cancelled, "Alignment was cancelled."};
  return results;
}

}  // namespace smhdr
