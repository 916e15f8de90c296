// Every op of the forward pass at the size of a photograph of 1.5 megapixels, beside what the bytes it must move would
// take at the card's own copying speed and how fast it multiplies.
#include "gpu.h"

namespace smhdr::bench::gpu {
namespace {

constexpr int kWidth = 60, kHeads = 6, kReduced = 15, kHidden = 2 * kWidth, kExposureHidden = 4 * kWidth;

struct Kernel {
  const char* name;
  double floats, multiply_adds;  // moved and done for a pixel
  std::function<void()> work;
};

std::vector<Kernel> kernels(Ops& ops, Tensors& t, int height, int width) {
  const Tensor x = t.make(1, height, width, kWidth), out = t.make(1, height, width, kWidth),
               picture = t.make(1, height, width, 6);
  const auto convolution = [&](const char* name, ConstTensor from, int outputs, int side, bool exact) {
    Tensor to = out;
    to.channels = outputs;
    ConvolutionArgs args{from,
                         t.weight(int64_t{outputs} * from.channels * side * side),
                         t.weight(outputs),
                         Padding::zero,
                         nullptr,
                         false,
                         to,
                         exact};
    args.kernel = side;
    return Kernel{name, double(from.channels + outputs), double(from.channels) * outputs * side * side,
                  [&ops, args] { ops.convolution(args); }};
  };
  const auto mlp = [&](int hidden) {
    MlpArgs args;
    args.x = x;
    args.weights = {t.norm(kWidth),   t.weight(hidden * kWidth),
                    t.weight(hidden), t.weight(hidden * kWidth),
                    t.weight(kWidth), hidden};
    args.residual = true;
    args.out = out;
    return args;
  };
  AttentionArgs attention;
  attention.x = x;
  attention.weights = {t.norm(kWidth),
                       t.weight(3 * kWidth * kWidth),
                       t.weight(3 * kWidth),
                       t.weight(kWidth * kWidth),
                       t.weight(kWidth),
                       t.weight(15 * 15 * kHeads),
                       kHeads};
  attention.shift = kShift;
  attention.out = out;
  LocalBranchArgs local;
  local.x = x;
  local.weights = {t.norm(kWidth),     t.weight(kWidth * 9),        t.weight(kWidth), t.weight(kReduced * kWidth),
                   t.weight(kReduced), t.weight(kReduced * kWidth), t.weight(kWidth), t.weight(98),
                   t.weight(1),        t.weight(kWidth * 9),        t.weight(kWidth), kReduced};
  local.out = out;
  ExposureAttentionArgs exposure;
  exposure.x = x;
  exposure.weights = {t.norm(kWidth), t.weight(kWidth * kWidth), t.weight(kWidth * kWidth), t.weight(kWidth * kWidth),
                      t.weight(kWidth * kWidth)};
  exposure.exposures = 3;
  exposure.out = out;
  const MlpArgs hybrid_mlp = mlp(kHidden), exposure_mlp = mlp(kExposureHidden);
  const HybridArgs hybrid{local, attention, hybrid_mlp, out};
  const NormWeights norm = t.norm(kWidth);
  const double attends = 4.0 * kWidth * kWidth + 2.0 * kWindowTokens * kWidth, mixes = 2.0 * kWidth * kHidden,
               looks = 18.0 * kWidth + 98, two = 2.0 * kWidth;
  return {convolution("convolution 3x3, 60 to 60", x, kWidth, 3, false),
          convolution("convolution 3x3, 60 to 60, exact", x, kWidth, 3, true),
          convolution("convolution 5x5, 60 to 3, exact", x, 3, 5, true),
          convolution("convolution 7x7, 6 to 20, exact", picture, 20, 7, true),
          convolution("convolution 11x11, 6 to 3, exact", picture, 3, 11, true),
          {"layer norm", two, 0, [=, &ops] { ops.layer_norm(x, norm, out); }},
          {"window attention, shifted", two, attends, [=, &ops] { ops.window_attention(attention); }},
          {"mlp, hidden 120", two, mixes, [=, &ops] { ops.mlp(hybrid_mlp); }},
          {"mlp, hidden 240", two, 2 * mixes, [=, &ops] { ops.mlp(exposure_mlp); }},
          // Its gates need the whole picture: it is read twice.
          {"local branch", 1.5 * two, looks, [=, &ops] { ops.local_branch(local); }},
          {"hybrid block, whole", 1.5 * two, attends + mixes + looks, [=, &ops] { ops.hybrid_block(hybrid); }},
          {"exposure attention", 1.5 * two, 2.0 * kWidth * kWidth, [=, &ops] { ops.exposure_attention(exposure); }},
          {"add", 1.5 * two, 0, [=, &ops] { ops.add(x, x, out); }}};
}

}  // namespace

double copy_bytes_per_second(Ops& ops, bool quick) {
  const int64_t count = quick ? 1 << 12 : 1 << 27;
  Tensors tensors(ops);
  const std::vector<float> some(1 << 10);
  float *from = tensors.values(some, count), *to = tensors.values(some, count);
  return 8.0 * double(count) / seconds_on(ops, quick, [&] { ops.memory().copy(from, to, count); });
}

void time_kernels(const Setting& setting) {
  const int height = setting.quick ? 8 : 1000, width = setting.quick ? 16 : 1504;
  const double pixels = double(height) * width;
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const bool bf16 = precision == Precision::bf16;
    if (bf16 && !setting.bf16) continue;
    const auto ops = std::move(setting.make_ops(precision).value());
    const double copy = copy_bytes_per_second(*ops, setting.quick);
    std::printf("\nkernels, %s, %d x %d; copying moves %.0f GB/s\n", bf16 ? "bf16" : "fp32", width, height, copy / 1e9);
    std::printf("%-36s %10s %16s %10s\n", "", "ms", "copy's time", "TFLOP/s");
    Tensors tensors(*ops);
    for (const Kernel& kernel : kernels(*ops, tensors, height, width)) {
      const double seconds = seconds_on(*ops, setting.quick, kernel.work);
      std::printf("%-36s %10.3f %15.0f%% %10.2f\n", kernel.name, 1e3 * seconds,
                  100 * 4 * kernel.floats * pixels / copy / seconds, 2e-12 * kernel.multiply_adds * pixels / seconds);
      std::fflush(stdout);
    }
  }
}

}  // namespace smhdr::bench::gpu
