// Backward ops: every implementation against the plain reference, and the reference against finite differences of the
// forward op, at shapes that hurt.
#include "op_comparison.h"

using namespace smhdr;
using namespace smhdr::test;

namespace {

using Values = std::vector<std::vector<float>>;

/// An op as a function of its input (part 0) and its weights (the other parts), with its backward.
struct Differentiable {
  std::string name;
  Values parts;
  int64_t out_size;
  std::function<void(Ops&, const Values&, float* out)> forward;
  /// Adds to the gradient of every part, but overwrites that of part 0.
  std::function<void(Ops&, const Values&, const float* grad_out, Values& gradients)> backward;
  double tolerance = 2e-5;
  /// All its numbers, and the output's gradient, are to be ones that bfloat16 holds: its products are then exact.
  bool coarse = false;
};

/// Multiples of 1/16 with at most seven bits.
std::vector<float> coarse(std::vector<float> values) {
  for (float& v : values) v = std::round(std::min(std::max(v, -7.0f), 7.0f) * 16) / 16;
  return values;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i) total += double(a[i]) * b[i];
  return total;
}

void test(const Differentiable& op) {
  const std::vector<float> random = random_values(op.out_size), grad_out = op.coarse ? coarse(random) : random;
  Values start;
  for (const auto& part : op.parts) start.push_back(random_values(static_cast<int64_t>(part.size())));
  auto reference = make_reference_ops();
  Values expected = start;
  op.backward(*reference, op.parts, grad_out.data(), expected);
  for (auto& [label, ops, least] : implementations) {
    Values got = start, frozen(start.size());
    op.backward(*ops, op.parts, grad_out.data(), got);
    frozen[0] = start[0];  // no other part's gradient is asked for: that of the input stays what it is
    op.backward(*ops, op.parts, grad_out.data(), frozen);
    if (Status status = ops->finish(); !CHECK(status.ok()))
      std::printf("  %s on %s: %s\n", op.name.c_str(), label.c_str(), status.error().message.c_str());
    if (!CHECK(frozen[0] == got[0])) std::printf("  %s on %s: frozen\n", op.name.c_str(), label.c_str());
    for (size_t p = 0; p < got.size(); ++p) {
      double scale = 1e-6, worst = 0, squares = 0;
      for (float v : expected[p]) scale = std::max(scale, std::fabs(double(v)));
      for (size_t i = 0; i < got[p].size(); ++i) {
        const double d = std::fabs(double(got[p][i]) - expected[p][i]) / scale;
        if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
        squares += d * d;
      }
      const bool rounds = least > 0 && !op.coarse, vector = got[p].size() <= 120;
      const double mean = std::sqrt(squares / double(got[p].size())),
                   limit = rounds ? kBf16GradientTolerance : op.tolerance,
                   mean_limit = vector ? kBf16VectorMeanTolerance : kBf16GradientMeanTolerance;
      if (!CHECK(worst <= limit && mean <= std::min(limit, mean_limit)))
        std::printf("  %s part %zu on %s: %g, root mean square %g\n", op.name.c_str(), p, label.c_str(), worst, mean);
    }
  }

  // Along one random direction through all parts: (L(p + e d) - L(p - e d)) / 2e against <gradient, d>, L = <out,
  // grad_out>.
  Values direction, gradients;
  double along = 0, size = 0;
  for (const auto& part : op.parts) {
    direction.push_back(random_values(static_cast<int64_t>(part.size()), 0.1f));
    gradients.emplace_back(part.size());
  }
  op.backward(*reference, op.parts, grad_out.data(), gradients);
  for (size_t p = 0; p < gradients.size(); ++p) {
    along += dot(gradients[p], direction[p]);
    size += std::sqrt(dot(gradients[p], gradients[p]) * dot(direction[p], direction[p])) /
            std::sqrt(double(gradients[p].size()));
  }
  const double step = 4e-3;
  double loss[2];
  for (int side = 0; side < 2; ++side) {
    Values moved = op.parts;
    for (size_t p = 0; p < moved.size(); ++p)
      for (size_t i = 0; i < moved[p].size(); ++i)
        moved[p][i] += static_cast<float>((side ? -step : step) * direction[p][i]);
    std::vector<float> out(op.out_size);
    op.forward(*reference, moved, out.data());
    loss[side] = dot(out, grad_out);
  }
  const double slope = (loss[0] - loss[1]) / (2 * step);
  if (!CHECK(std::fabs(slope - along) <= 0.02 * size + 2e-3))
    std::printf("  %s: finite difference %g, gradient %g (size %g)\n", op.name.c_str(), slope, along, size);
}

Tensor view(float* data, Shape s, int channels) { return {data, s.batch, s.height, s.width, channels}; }
ConstTensor view(const std::vector<float>& data, Shape s, int channels) {
  return {data.data(), s.batch, s.height, s.width, channels};
}
ConstTensor view(const float* data, Shape s, int channels) { return {data, s.batch, s.height, s.width, channels}; }

const std::vector<Shape> kShapes = {{1, 1, 1}, {1, 1, 7}, {2, 3, 65}, {1, 9, 64}, {1, 17, 20}};
const std::vector<Shape> kSmallWindows = {{1, 8, 8}, {2, 16, 24}};

std::vector<float> gains(int channels) { return random_values(channels, 0.2f, 1); }

void test_convolution(Shape s, int in, int out, Padding padding) {
  const int64_t pixels = int64_t{s.batch} * s.height * s.width;
  test({label("convolution", s, in),
        {coarse(random_values(pixels * in)), coarse(random_values(int64_t{9} * in * out, 0.3f)),
         coarse(random_values(out))},
        pixels * out,
        [=](Ops& ops, const Values& p, float* to) {
          ops.convolution({view(p[0], s, in), p[1].data(), p[2].data(), padding, nullptr, false, view(to, s, out)});
        },
        [=](Ops& ops, const Values& p, const float* g, Values& d) {
          ops.convolution_backward({view(p[0], s, in), p[1].data(), padding, view(g, s, out), d[1].data(), d[2].data(),
                                    view(d[0].data(), s, in)});
        },
        2e-5,
        true});
}

void test_norm(Shape s, int channels) {
  const int64_t size = int64_t{s.batch} * s.height * s.width * channels;
  test({label("layer_norm", s, channels),
        {random_values(size), gains(channels), random_values(channels)},
        size,
        [=](Ops& ops, const Values& p, float* to) {
          ops.layer_norm(view(p[0], s, channels), {p[1].data(), p[2].data()}, view(to, s, channels));
        },
        [=](Ops& ops, const Values& p, const float* g, Values& d) {
          ops.layer_norm_backward(view(p[0], s, channels), {p[1].data(), p[2].data()}, view(g, s, channels),
                                  {d[1].data(), d[2].data()}, view(d[0].data(), s, channels));
        }});
}

void test_mlp(Shape s, int channels, int hidden, bool plain) {
  const int64_t size = int64_t{s.batch} * s.height * s.width * channels;
  static const std::vector<float> keep = {1.25f, 0.5f};
  const auto args = [=](const Values& p) {
    MlpArgs a;
    a.x = view(p[0], s, channels);
    a.weights = {plain ? NormWeights{} : NormWeights{p[1].data(), p[2].data()},
                 p[3].data(),
                 p[4].data(),
                 p[5].data(),
                 p[6].data(),
                 hidden};
    a.residual = !plain;
    a.keep = plain ? nullptr : keep.data();
    return a;
  };
  const int64_t weights = int64_t{hidden} * channels;
  test({label("mlp", s, channels),
        {random_values(size), gains(channels), random_values(channels), random_values(weights, 0.3f),
         random_values(hidden, 0.3f), random_values(weights, 0.3f), random_values(channels)},
        size,
        [=](Ops& ops, const Values& p, float* to) {
          MlpArgs a = args(p);
          a.out = view(to, s, channels);
          ops.mlp(a);
        },
        [=](Ops& ops, const Values& p, const float* g, Values& d) {
          std::copy_n(g, size, d[0].data());  // in place: the gradient of the output becomes that of the input
          ops.mlp_backward({args(p),
                            view(d[0], s, channels),
                            {plain ? NormGradients{} : NormGradients{d[1].data(), d[2].data()}, d[3].data(),
                             d[4].data(), d[5].data(), d[6].data()},
                            view(d[0].data(), s, channels)});
          if (plain) std::fill(d[1].begin(), d[1].end(), 0.0f), std::fill(d[2].begin(), d[2].end(), 0.0f);
        }});
}

void test_attention(Shape s, int channels, int heads, int shift, MaskMode mode) {
  const int64_t pixels = int64_t{s.batch} * s.height * s.width, size = pixels * channels;
  const auto mask = random_values(pixels);
  const auto args = [=, &mask](const Values& p) {
    AttentionArgs a;
    a.x = view(p[0], s, channels);
    a.weights = {{p[1].data(), p[2].data()}, p[3].data(), p[4].data(), p[5].data(), p[6].data(), p[7].data(), heads};
    a.shift = shift;
    a.mask_mode = mode;
    a.mask = mask.data();
    return a;
  };
  test({label("window_attention", s, channels),
        {random_values(size), gains(channels), random_values(channels), random_values(3 * channels * channels, 0.2f),
         random_values(3 * channels, 0.2f), random_values(channels * channels, 0.3f), random_values(channels),
         random_values(225 * heads)},
        size,
        [=](Ops& ops, const Values& p, float* to) {
          AttentionArgs a = args(p);
          a.out = view(to, s, channels);
          ops.window_attention(a);
        },
        [=](Ops& ops, const Values& p, const float* g, Values& d) {
          std::copy_n(g, size, d[0].data());
          ops.window_attention_backward(
              {args(p),
               view(d[0], s, channels),
               {{d[1].data(), d[2].data()}, d[3].data(), d[4].data(), d[5].data(), d[6].data(), d[7].data()},
               view(d[0].data(), s, channels)});
        }});
}

void test_local(Shape s, int channels) {
  const int64_t size = int64_t{s.batch} * s.height * s.width * channels;
  const int reduced = channels / 4;
  const auto args = [=](const Values& p) {
    LocalBranchArgs a;
    a.x = view(p[0], s, channels);
    a.weights = {{p[1].data(), p[2].data()},
                 p[3].data(),
                 p[4].data(),
                 p[5].data(),
                 p[6].data(),
                 p[7].data(),
                 p[8].data(),
                 p[9].data(),
                 p[10].data(),
                 p[11].data(),
                 p[12].data(),
                 reduced};
    return a;
  };
  test({label("local_branch", s, channels),
        {random_values(size), gains(channels), random_values(channels), random_values(9 * channels, 0.3f),
         random_values(channels), random_values(int64_t{reduced} * channels, 0.3f), random_values(reduced),
         random_values(int64_t{reduced} * channels, 0.3f), random_values(channels), random_values(98, 0.1f),
         random_values(1), random_values(9 * channels, 0.3f), random_values(channels)},
        size,
        [=](Ops& ops, const Values& p, float* to) {
          LocalBranchArgs a = args(p);
          a.out = view(to, s, channels);
          ops.local_branch(a);
        },
        [=](Ops& ops, const Values& p, const float* g, Values& d) {
          std::fill(d[0].begin(), d[0].end(), 0.0f);
          ops.local_branch_backward({args(p),
                                     view(g, s, channels),
                                     {{d[1].data(), d[2].data()},
                                      d[3].data(),
                                      d[4].data(),
                                      d[5].data(),
                                      d[6].data(),
                                      d[7].data(),
                                      d[8].data(),
                                      d[9].data(),
                                      d[10].data(),
                                      d[11].data(),
                                      d[12].data()},
                                     view(d[0].data(), s, channels)});
        }});
}

void test_exposure(Shape s, int channels, int exposures) {
  const int64_t size = int64_t{s.batch} * s.height * s.width * channels, square = int64_t{channels} * channels;
  const auto args = [=](const Values& p) {
    ExposureAttentionArgs a;
    a.x = view(p[0], s, channels);
    a.weights = {{p[1].data(), p[2].data()}, p[3].data(), p[4].data(), p[5].data(), p[6].data()};
    a.exposures = exposures;
    return a;
  };
  test({label("exposure_attention", s, channels),
        {random_values(size), gains(channels), random_values(channels), random_values(square, 0.3f),
         random_values(square, 0.3f), random_values(square, 0.3f), random_values(square, 0.3f)},
        size,
        [=](Ops& ops, const Values& p, float* to) {
          ExposureAttentionArgs a = args(p);
          a.out = view(to, s, channels);
          ops.exposure_attention(a);
        },
        [=](Ops& ops, const Values& p, const float* g, Values& d) {
          ops.exposure_attention_backward(
              {args(p),
               view(g, s, channels),
               {{d[1].data(), d[2].data()}, d[3].data(), d[4].data(), d[5].data(), d[6].data()},
               view(d[0].data(), s, channels)});
        },
        1e-4});
}

void test_fold(Shape s, int channels, int exposures, int slot) {
  const int64_t size = int64_t{s.batch} * s.height * s.width * channels;
  test({label("fold_exposure", s, channels),
        {random_values(size)},
        size,
        [=](Ops& ops, const Values& p, float* to) {
          std::fill_n(to, size, 0.0f);
          ops.fold_exposure(view(p[0], s, channels), exposures, slot, view(to, s, channels));
        },
        [=](Ops& ops, const Values&, const float* g, Values& d) {
          ops.fold_exposure_backward(view(g, s, channels), exposures, slot, view(d[0].data(), s, channels));
        }});
}

void test_prior(Shape s) {
  const int64_t pixels = int64_t{s.batch} * s.height * s.width;
  auto prior = random_values(pixels * 6);
  for (float& v : prior) v = 0.4f * v + 0.5f;
  test({label("prior", s, 4),
        {random_values(pixels * 4)},
        pixels * 3,
        [=](Ops& ops, const Values& p, float* to) {
          ops.prior({view(p[0], s, 4), view(prior, s, 6), view(to, s, 3)});
        },
        [=](Ops& ops, const Values& p, const float* g, Values& d) {
          std::vector<float> out(pixels * 3);
          const PriorArgs args{view(p[0], s, 4), view(prior, s, 6), view(out.data(), s, 3)};
          ops.prior(args);
          ops.prior_backward({args, view(g, s, 3), view(d[0].data(), s, 4)});
          CHECK(ops.finish().ok());  // `out` is used until then
        }});
}

}  // namespace

int main() {
  find_implementations(true);
  find_cuda_implementations();
  for (Shape s : kShapes) {
    for (auto [in, out] : {std::pair{6, 60}, {24, 3}, {5, 7}, {1, 1}, {70, 18}})
      for (Padding padding : {Padding::zero, Padding::reflect}) test_convolution(s, in, out, padding);
    for (int channels : {60, 24, 17}) {
      test_norm(s, channels);
      test_mlp(s, channels, channels, false);
      test_mlp(s, channels, 2 * channels + 1, false);
      test_mlp(s, channels, channels, true);
    }
    for (auto [channels, hidden] : {std::pair{60, 120}, {60, 240}, {24, 10}, {2, 2}})
      test_mlp(s, channels, hidden, false);
    for (int channels : {60, 12}) {
      test_local(s, channels);
      for (int exposures : {1, 3, 5, 7, 9})
        for (int slot : {0, exposures / 2, exposures - 1}) test_fold(s, channels, exposures, slot);
    }
  }
  for (Shape s : kShapes) test_prior(s);
  for (Shape s : {Shape{1, 9, 64}, {2, 5, 33}})  // below, a channel's norm all but vanishes and magnifies the rounding
    for (auto [channels, exposures] : {std::pair{60, 3}, {24, 2}, {40, 5}, {60, 2}, {60, 7}, {24, 4}, {24, 7}, {12, 9}})
      test_exposure(s, channels, exposures);
  for (Shape s : kSmallWindows)
    for (auto [channels, heads] : {std::pair{60, 6}, {24, 2}, {9, 3}, {36, 1}, {40, 2}, {4, 2}})
      for (int shift : {0, kShift})
        for (MaskMode mode : {MaskMode::none, MaskMode::map, MaskMode::importance})
          test_attention(s, channels, heads, shift, mode);
  return finish();
}
