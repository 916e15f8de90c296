#include "merge/calibration.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace smhdr {
namespace {

constexpr double kKnots[] = {-8, -6.5, -5.25, -4.25, -3.25, -2.25, -1.25, -0.5, 0};
constexpr int kCurve = std::size(kKnots) - 1;  // unknowns: the last knot is fixed at 0
// Light of the shorter and the longer exposure below which black levels and noise speak, and above which clipping does.
constexpr double kDarkestShort = 0.003, kDarkestLong = 0.02, kLightest = 0.85;
constexpr int kEnoughSamples = 60;

/// c(u) = sum of weight[k] over the knots at and after `knot`.
struct CurvePoint {
  int knot;
  double weight[2];
};
CurvePoint locate(double u) {
  u = std::clamp(u, kKnots[0], kKnots[kCurve]);
  int knot = 0;
  while (knot < kCurve - 1 && u > kKnots[knot + 1]) ++knot;
  const double t = (u - kKnots[knot]) / (kKnots[knot + 1] - kKnots[knot]);
  return {knot, {1 - t, t}};
}

/// One equation: what two adjacent exposures say of one channel of one block.
struct Equation {
  CurvePoint a, b;
  int gain_a, gain_b;  // unknowns, or -1
  double residual;     // stops, uncorrected: b above a
  double balance;      // so that no tone outvotes the others
};

double median(std::vector<double>& values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Solves the symmetric positive definite system a x = b in place (Cholesky).
void solve(std::vector<double>& a, std::vector<double>& b) {
  const int n = static_cast<int>(b.size());
  for (int j = 0; j < n; ++j) {
    for (int k = 0; k < j; ++k)
      for (int i = j; i < n; ++i) a[i * n + j] -= a[i * n + k] * a[j * n + k];
    const double root = std::sqrt(std::max(a[j * n + j], 1e-12));
    for (int i = j; i < n; ++i) a[i * n + j] /= root;
  }
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (int i = n - 1; i >= 0; --i) {
    for (int k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
}

double residual_with(const Equation& e, const std::vector<double>& x) {
  double r = e.residual;
  for (int k = 0; k < 2; ++k) {
    if (e.b.knot + k < kCurve) r += e.b.weight[k] * x[e.b.knot + k];
    if (e.a.knot + k < kCurve) r -= e.a.weight[k] * x[e.a.knot + k];
  }
  if (e.gain_b >= 0) r += x[e.gain_b];
  if (e.gain_a >= 0) r -= x[e.gain_a];
  return r;
}

void fit_noise(const CalibrationInput& input, MergeCalibration& out) {
  // The flattest blocks of each tone show noise alone.
  constexpr int kTones = 12, kFewest = 40;
  std::array<std::vector<NoiseSample>, kTones> tones;
  for (const NoiseSample& sample : input.noise) {
    if (sample.light >= kLightest) continue;
    const double u = std::log2(std::max(sample.light, 1e-6f));
    tones[std::clamp(static_cast<int>(u + kTones), 0, kTones - 1)].push_back(sample);
  }
  // variance = floor + slope v by least squares on relative errors, both at least what the codes' steps alone give.
  double s11 = 0, s1v = 0, svv = 0, s1y = 0, svy = 0;
  for (auto& tone : tones) {
    if (tone.size() < kFewest) continue;
    const auto low = tone.begin() + tone.size() / 5;
    std::nth_element(tone.begin(), low, tone.end(),
                     [](const NoiseSample& a, const NoiseSample& b) { return a.variance < b.variance; });
    const double y = std::max<double>(low->variance, 1e-10), w = 1 / (y * y), v = low->light;
    s11 += w;
    s1v += w * v;
    svv += w * v * v;
    s1y += w * y;
    svy += w * v * y;
  }
  out.noise_floor = 1e-7;
  out.noise_slope = 5e-5;
  const double determinant = s11 * svv - s1v * s1v;
  if (determinant > 1e-9 * s11 * svv) {
    double floor = (s1y * svv - svy * s1v) / determinant, slope = (svy * s11 - s1y * s1v) / determinant;
    if (slope < 0) slope = 0, floor = s1y / s11;
    if (floor < 0) floor = 0, slope = svy / svv;
    out.noise_floor = std::clamp(floor, 0.0, 1e-3);
    out.noise_slope = std::clamp(slope, 0.0, 1e-2);
  }
  out.noise_floor = std::max(out.noise_floor, std::max(input.quantisation_floor, 1e-9));
  out.noise_slope = std::max(out.noise_slope, std::max(input.quantisation_slope, 1e-6));
}

}  // namespace

double curve_at(const MergeCalibration& calibration, double u) {
  if (calibration.curve.empty()) return 0;
  const CurvePoint p = locate(u);
  return p.weight[0] * calibration.curve[p.knot] + p.weight[1] * calibration.curve[p.knot + 1];
}

MergeCalibration calibrate(const CalibrationInput& input) {
  const int n = static_cast<int>(input.exposure_values.size());
  MergeCalibration out;
  out.curve_knots.assign(std::begin(kKnots), std::end(kKnots));
  out.curve.assign(kCurve + 1, 0.0);
  out.gains.assign(n, {1, 1, 1});
  fit_noise(input, out);

  const auto gain_unknown = [&](int i, int c) {
    return i == input.reference ? -1 : kCurve + 3 * (i < input.reference ? i : i - 1) + c;
  };
  std::vector<Equation> equations;
  std::vector<std::array<int, 16>> crowd(n);
  for (int a = 0; a + 1 < n; ++a) {
    const int b = a + 1;
    std::array<int, 16> count{};
    const size_t first = equations.size();
    for (const CalibrationSample& s : input.samples) {
      if (!s.flat[a] || !s.flat[b]) continue;
      for (int c = 0; c < 3; ++c) {
        const double va = s.light[a][c], vb = s.light[b][c];
        if (va < kDarkestShort || vb < kDarkestLong || std::max(va, vb) > kLightest) continue;
        const double ua = std::log2(va), ub = std::log2(vb);
        const double step = input.exposure_values[b] - input.exposure_values[a];
        const int tone = std::clamp(static_cast<int>(-2 * ub), 0, 15);
        ++count[tone];
        equations.push_back(
            {locate(ua), locate(ub), gain_unknown(a, c), gain_unknown(b, c), ub - ua - step, double(tone)});
      }
    }
    for (size_t i = first; i < equations.size(); ++i)
      equations[i].balance = 1.0 / std::max(30, count[static_cast<int>(equations[i].balance)]);
  }
  out.samples = static_cast<int64_t>(equations.size());
  if (!input.correct_response || out.samples < kEnoughSamples) return out;

  const int unknowns = kCurve + 3 * (n - 1);
  std::vector<double> x(unknowns, 0.0), magnitudes;
  const auto disagreement = [&] {
    magnitudes.clear();
    for (const Equation& e : equations) magnitudes.push_back(std::abs(residual_with(e, x)));
    return median(magnitudes);
  };
  out.disagreement_before = disagreement();
  double scale = std::clamp(1.5 * out.disagreement_before, 0.05, 1.5);
  for (int round = 0; round < 12; ++round) {
    std::vector<double> normal(static_cast<size_t>(unknowns) * unknowns, 0.0), right(unknowns, 0.0);
    const auto prior = [&](int i, double weight) { normal[i * unknowns + i] += weight; };
    // Beliefs, in equations' weights: curves are small and smooth, gains small.
    for (int i = 0; i < unknowns; ++i) prior(i, i < kCurve ? 0.05 : 2.0);
    for (int k = 0; k + 2 <= kCurve; ++k) {
      const double weight = 1.0, d[3] = {1, -2, 1};  // the last knot is 0
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j)
          if (k + i < kCurve && k + j < kCurve) normal[(k + i) * unknowns + k + j] += weight * d[i] * d[j];
    }
    for (const Equation& e : equations) {
      const double r = residual_with(e, x) / scale;
      const double robust = 1 / ((1 + r * r) * (1 + r * r));  // Geman-McClure: what moved has no say
      int index[6];
      double value[6];
      int terms = 0;
      const auto term = [&](int i, double v) {
        if (i >= 0) index[terms] = i, value[terms++] = v;
      };
      for (int k = 0; k < 2; ++k) {
        if (e.b.knot + k < kCurve) term(e.b.knot + k, e.b.weight[k]);
        if (e.a.knot + k < kCurve) term(e.a.knot + k, -e.a.weight[k]);
      }
      term(e.gain_b, 1);
      term(e.gain_a, -1);
      const double weight = 30 * robust * e.balance;
      for (int i = 0; i < terms; ++i) {
        for (int j = 0; j < terms; ++j) normal[index[i] * unknowns + index[j]] += weight * value[i] * value[j];
        right[index[i]] -= weight * value[i] * e.residual;
      }
    }
    solve(normal, right);
    x = right;
    scale = std::max(0.05, 0.8 * scale);
  }
  out.disagreement_after = disagreement();

  // Taken only if it clearly helps, and only as far as a camera's curve may bend.
  if (out.disagreement_after > 0.75 * out.disagreement_before || out.disagreement_before < 0.02) {
    out.disagreement_after = out.disagreement_before;
    return out;
  }
  for (int k = 0; k < kCurve; ++k) out.curve[k] = std::clamp(x[k], -4.0, 4.0);
  for (int k = kCurve - 1; k >= 0; --k)  // the corrected curve must keep rising
    out.curve[k] = std::min(out.curve[k], out.curve[k + 1] + 0.7 * (kKnots[k + 1] - kKnots[k]));
  for (int i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c) {
      const int unknown = gain_unknown(i, c);
      if (unknown >= 0) out.gains[i][c] = std::exp2(std::clamp(x[unknown], -0.5, 0.5));
    }
  return out;
}

}  // namespace smhdr
