// Every implementation of every op against the plain reference, at shapes that hurt: one window, one pixel, widths and
// head sizes that fill no vector, odd sizes and remainders, batches, in place.
#include "op_comparison.h"

using namespace smhdr;
using namespace smhdr::test;

namespace {

/// The published numbers of heads stay; no other rule makes a head of one channel; parts cover all channels.
void test_exposure_heads() {
  for (int channels : {1, 7, 12, 24, 40, 60})
    for (int n = 1; n <= std::min(16, channels); ++n) {
      const int heads = exposure_heads(channels, n);
      if (channels % (4 * n) == 0) CHECK(heads == 4 * n);
      CHECK(heads >= 1 && heads <= 4 * n && part_start(heads, heads, channels) == channels);
      for (int h = 0; h < heads; ++h) {
        const int depth = part_start(h + 1, heads, channels) - part_start(h, heads, channels);
        CHECK(depth == channels / heads || depth == channels / heads + 1);
        CHECK(depth > 1 || 4 * n == channels || channels == 1);
      }
    }
}

void test_convolution() {
  for (Shape s : kAny)
    for (auto [in, out] : {std::pair{6, 60}, {60, 3}, {5, 7}, {12, 12}, {1, 1}})
      for (Padding padding : {Padding::zero, Padding::reflect})
        for (bool tail : {false, true}) {
          Weights w;
          const int64_t pixels = int64_t{s.batch} * s.height * s.width;
          const auto x = random_values(pixels * in), add = random_values(pixels * out);
          const float *weight = w(int64_t{9} * in * out), *bias = w(out);
          compare(label("convolution", s, in), pixels * out, [&](Ops& ops, float* to) {
            ops.convolution({{x.data(), s.batch, s.height, s.width, in},
                             weight,
                             bias,
                             padding,
                             tail ? add.data() : nullptr,
                             tail,
                             {to, s.batch, s.height, s.width, out}});
          });
        }
}

LocalBranchWeights local_weights(Weights& w, NormWeights norm, int channels) {
  return {norm,
          w(9 * channels),
          w(channels),
          w(channels / 4 * channels),
          w(channels / 4),
          w(channels / 4 * channels),
          w(channels),
          w(98, 0.1f),
          w(1),
          w(9 * channels),
          w(channels),
          channels / 4};
}

/// The prior and its backward pass, `share` of the gate let in and pulled at by `pull`.
void test_prior(Shape s, float share, float pull) {
  const int64_t pixels = int64_t{s.batch} * s.height * s.width;
  const auto logits = random_values(pixels * 4);
  auto radiance = random_values(pixels * 6);
  for (float& v : radiance) v = 0.4f * v + 0.5f;  // some below 0, some above 1
  PriorArgs args{{logits.data(), s.batch, s.height, s.width, 4},
                 {radiance.data(), s.batch, s.height, s.width, 6},
                 {nullptr, s.batch, s.height, s.width, 3},
                 share};
  compare(label("prior", s, 4), pixels * 3, [&](Ops& ops, float* to) {
    args.out.data = to;
    ops.prior(args);
  });
  std::vector<float> out(pixels * 3);
  args.out.data = out.data();
  make_reference_ops()->prior(args);
  const auto grad = random_values(pixels * 3);
  compare(label("prior/backward", s, 4), pixels * 4, [&](Ops& ops, float* to) {
    ops.prior_backward({args, {grad.data(), s.batch, s.height, s.width, 3}, {to, s.batch, s.height, s.width, 4}, pull});
  });
}

void test_priors() {
  for (Shape s : kAny)
    for (auto [share, pull] : {std::pair{1.0f, 0.0f}, {1.0f, 0.3f}, {0.0f, 0.0f}}) test_prior(s, share, pull);
  // By hand: the gate open, the prior with its black and white, and beyond white; half open, the mean of the logits;
  // shut, or not let in, the network's own.
  const float prior[] = {0.35f, 0, 3, 9, 9, 9}, even[] = {0.5f, 0.5f, 0.5f, 9, 9, 9}, open[] = {1, 2, 3, 50},
              half[] = {2, 0, -2, 0}, shut[] = {1, 0, -1, -50};
  const auto run = [&](const float* x, const float* from, float share = 1) {
    std::vector<float> out(3);
    make_reference_ops()->prior({{x, 1, 1, 1, 4}, {from, 1, 1, 1, 6}, {out.data(), 1, 1, 1, 3}, share});
    return out;
  };
  const auto given = run(open, prior), between = run(half, even), own = run(shut, prior);
  CHECK(run(open, prior, 0)[0] == float(1 / (1 + std::exp(-1.0))));
  CHECK(std::fabs(given[0] - 0.35) < 3e-3 && std::fabs(given[1] - 1.0 / 5000) < 1e-5 &&
        std::fabs(given[2] - 0.995) < 1e-3);
  CHECK(std::fabs(between[0] - 0.731059) < 3e-3 && std::fabs(between[2] - 0.268941) < 3e-3);
  CHECK(std::fabs(own[0] - 0.731059) < 1e-6 && own[1] == 0.5f && std::fabs(own[2] - 0.268941) < 1e-6);
}

/// The kernels of composed convolutions, into a slice of wider pixels.
void test_large_convolution() {
  for (Shape s : kAny)
    for (auto [in, out, kernel] : {std::tuple{6, 20, 7}, {6, 3, 11}, {12, 3, 5}})
      for (Padding padding : {Padding::zero, Padding::reflect}) {
        Weights w;
        const int64_t pixels = int64_t{s.batch} * s.height * s.width;
        const auto x = random_values(pixels * in);
        const float *weight = w(int64_t{kernel} * kernel * in * out), *bias = w(out);
        compare(label("large convolution", s, in), pixels * (out + 5), [&](Ops& ops, float* to) {
          ConvolutionArgs args{{x.data(), s.batch, s.height, s.width, in}, weight, bias, padding, nullptr, false,
                               {to + 2, s.batch, s.height, s.width, out}};
          args.kernel = kernel;
          args.out_pitch = out + 5;
          ops.convolution(args);
        });
      }
}

void test_tokens() {
  for (Shape s : kAny)
    for (int channels : {60, 24, 12, 17, 1}) {
      Weights w;
      const Tensor shape{nullptr, s.batch, s.height, s.width, channels};
      const auto x = random_values(shape.size()), add = random_values(shape.size());
      const ConstTensor in{x.data(), s.batch, s.height, s.width, channels};
      const auto out = [&](float* to) { return Tensor{to, s.batch, s.height, s.width, channels}; };
      const NormWeights norm = w.norm(channels);
      compare(label("layer_norm", s, channels), shape.size(),
              [&](Ops& ops, float* to) { ops.layer_norm(in, norm, out(to)); });
      compare(label("add", s, channels), shape.size(), [&](Ops& ops, float* to) {
        ops.add(in, {add.data(), s.batch, s.height, s.width, channels}, out(to));
      });
      compare(label("copy", s, channels), shape.size(), [&](Ops& ops, float* to) { ops.copy(in, out(to)); });
      for (int hidden : {channels, 2 * channels, 7}) {
        const MlpWeights mlp{
            norm, w(int64_t{hidden} * channels), w(hidden), w(int64_t{hidden} * channels), w(channels), hidden};
        const std::vector<float> keep = {1.25f, 0.0f, 1.0f};
        for (int variant = 0; variant < 3; ++variant)
          compare(label("mlp", s, channels), shape.size(), [&](Ops& ops, float* to) {
            MlpArgs args;
            args.x = in;
            args.weights = mlp;
            args.out = out(to);
            if (variant == 1) {
              args.residual = true;
              args.add = add.data();
              args.keep = keep.data();
            }
            if (variant == 2) {  // in place, no norm
              std::copy(x.begin(), x.end(), to);
              args.x = args.out;
              args.weights.norm = {};
            }
            ops.mlp(args);
          });
      }
      for (int exposures : {1, 2, 3, 5, 7, 9, 16})
        if (exposures <= channels)
          for (int slot : {0, exposures / 2, exposures - 1})
            compare(label("fold", s, channels), shape.size(),
                    [&](Ops& ops, float* to) { ops.fold_exposure(in, exposures, slot, out(to)); });
      if (channels % 4) continue;
      const LocalBranchWeights local = local_weights(w, norm, channels);
      compare(label("local_branch", s, channels), shape.size(), [&](Ops& ops, float* to) {
        ops.local_branch({in, local, out(to)});
      });
      for (int exposures : {1, 2, 3, 4, 5, 7, 9})
        if (exposures <= channels && (shape.pixels() > 1 || channels % (4 * exposures) == 0)) {
          const int64_t square = int64_t{channels} * channels;
          const ExposureAttentionWeights exposure{norm, w(square), w(square), w(square), w(square)};
          compare(
              label("exposure_attention", s, channels), shape.size(),
              [&](Ops& ops, float* to) {
                ops.exposure_attention({in, exposure, exposures, out(to)});
              },
              // Few pixels: a channel of q or k can all but vanish, and its normalisation magnifies the rounding; a
              // single pixel more than any tolerance, the fewer channels q has.
              shape.pixels() < 64 ? 1e-3 : kTolerance);
        }
    }
}

void test_hybrid_block() {
  std::vector<Shape> shapes = kWindows;
  shapes.push_back({2, 16, 136});  // wider than a tile
  for (Shape s : shapes)
    for (auto [channels, heads, hidden] : {std::tuple{60, 6, 120}, {24, 2, 48}, {12, 4, 24}, {20, 5, 7}}) {
      Weights w;
      const Tensor shape{nullptr, s.batch, s.height, s.width, channels};
      const auto x = random_values(shape.size()), mask = random_values(shape.pixels());
      const std::vector<float> keep = {1.25f, 0.0f, 1.0f}, keep_mlp = {1.0f, 1.5f, 0.0f};
      const NormWeights norm = w.norm(channels);
      HybridArgs args;
      args.local.weights = local_weights(w, norm, channels);
      args.attention.weights = {
          norm, w(3 * channels * channels), w(3 * channels), w(channels * channels), w(channels), w(225 * heads, 1.0f),
          heads};
      args.mlp.weights = {w.norm(channels), w(hidden * channels), w(hidden), w(hidden * channels), w(channels), hidden};
      args.mlp.residual = true;
      args.local.x = args.attention.x = {x.data(), s.batch, s.height, s.width, channels};
      for (int shift : {0, kShift})
        for (bool masked : {false, true}) {
          args.attention.shift = shift;
          args.attention.mask_mode = masked ? MaskMode::map : MaskMode::none;
          args.attention.mask = mask.data();
          args.attention.keep = masked ? keep.data() : nullptr;
          args.mlp.keep = masked ? keep_mlp.data() : nullptr;
          compare(
              label("hybrid_block", s, channels), shape.size(),
              [&](Ops& ops, float* to) {
                HybridArgs own = args;
                own.out = {to, s.batch, s.height, s.width, channels};
                ops.hybrid_block(own);
              },
              kAttentionTolerance);
        }
    }
}

void test_attention() {
  for (Shape s : kWindows)
    for (auto [channels, heads] :
         {std::pair{60, 6}, {24, 2}, {12, 2}, {40, 4}, {7, 7}, {9, 1}, {36, 1}, {40, 2}, {4, 2}}) {
      Weights w;
      const Tensor shape{nullptr, s.batch, s.height, s.width, channels};
      const auto x = random_values(shape.size()), mask = random_values(shape.pixels());
      const std::vector<float> keep = {1.25f, 0.0f, 1.0f};
      const AttentionWeights weights{w.norm(channels),
                                     w(3 * channels * channels),
                                     w(3 * channels),
                                     w(channels * channels),
                                     w(channels),
                                     w(225 * heads, 1.0f),
                                     heads};
      for (int shift : {0, kShift})
        for (MaskMode mode : {MaskMode::none, MaskMode::map, MaskMode::importance})
          compare(
              label("window_attention", s, channels), shape.size(),
              [&](Ops& ops, float* to) {
                AttentionArgs args;
                args.x = {x.data(), s.batch, s.height, s.width, channels};
                args.weights = weights;
                args.shift = shift;
                args.mask_mode = mode;
                args.mask = mask.data();
                args.out = {to, s.batch, s.height, s.width, channels};
                if (mode == MaskMode::map) args.keep = keep.data();
                if (mode == MaskMode::none) {  // in place
                  std::copy(x.begin(), x.end(), to);
                  args.x = args.out;
                }
                ops.window_attention(args);
              },
              kAttentionTolerance);
    }
}

}  // namespace

int main() {
  find_implementations(true);
  find_cuda_implementations(true);
  test_exposure_heads();
  test_convolution();
  test_large_convolution();
  test_tokens();
  test_attention();
  test_hybrid_block();
  test_priors();
  return finish();
}
