// SMNet's forward pass and its ops alone, against the multiply-add peak measured in the same run.
// Usage: smnet_bench [size] [threads]
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "ops/ops.h"
#include "smhdr/network.h"
#include "timing.h"

using namespace smhdr;

namespace {

/// Sustained multiply-adds per second: independent accumulators that never leave registers.
double peak_generic(int64_t steps) {
  typedef float Vec __attribute__((vector_size(16)));
  Vec s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{}, s8{}, s9{};
  Vec a = Vec{} + 0.999f, b = Vec{} + 1e-3f;
  for (int64_t s = 0; s < steps; ++s) {
    s0 = s0 * a + b;
    s1 = s1 * a + b;
    s2 = s2 * a + b;
    s3 = s3 * a + b;
    s4 = s4 * a + b;
    s5 = s5 * a + b;
    s6 = s6 * a + b;
    s7 = s7 * a + b;
    s8 = s8 * a + b;
    s9 = s9 * a + b;
    asm volatile("" : "+m"(a), "+m"(b));
  }
  const Vec total = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9;
  return total[0];
}
#if defined(__x86_64__)
__attribute__((target("avx512f"))) double peak_avx512(int64_t steps) {
  typedef float Vec __attribute__((vector_size(64)));
  Vec s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{}, s8{}, s9{};
  Vec a = Vec{} + 0.999f, b = Vec{} + 1e-3f;
  for (int64_t s = 0; s < steps; ++s) {
    s0 = s0 * a + b;
    s1 = s1 * a + b;
    s2 = s2 * a + b;
    s3 = s3 * a + b;
    s4 = s4 * a + b;
    s5 = s5 * a + b;
    s6 = s6 * a + b;
    s7 = s7 * a + b;
    s8 = s8 * a + b;
    s9 = s9 * a + b;
    asm volatile("" : "+v"(a), "+v"(b));
  }
  const Vec total = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9;
  return total[0];
}
__attribute__((target("avx2,fma"))) double peak_avx2(int64_t steps) {
  typedef float Vec __attribute__((vector_size(32)));
  Vec s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{}, s8{}, s9{};
  Vec a = Vec{} + 0.999f, b = Vec{} + 1e-3f;
  for (int64_t s = 0; s < steps; ++s) {
    s0 = s0 * a + b;
    s1 = s1 * a + b;
    s2 = s2 * a + b;
    s3 = s3 * a + b;
    s4 = s4 * a + b;
    s5 = s5 * a + b;
    s6 = s6 * a + b;
    s7 = s7 * a + b;
    s8 = s8 * a + b;
    s9 = s9 * a + b;
    asm volatile("" : "+x"(a), "+x"(b));
  }
  const Vec total = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9;
  return total[0];
}

#endif

double measured_peak(ThreadPool& pool) {
  const int64_t steps = 20'000'000;
  volatile double sink = 0;
  int lanes = 4;
  double (*loop)(int64_t) = peak_generic;
#if defined(__x86_64__)
  if (cpu_isa() == CpuIsa::avx2) lanes = 8, loop = peak_avx2;
  if (cpu_isa() == CpuIsa::avx512) lanes = 16, loop = peak_avx512;
#endif
  const double seconds = bench::median_seconds(
      3, [&] { pool.parallel_for(pool.threads(), [&](int64_t, int) { sink = sink + loop(steps); }); });
  return double(steps) * 10 * lanes * 2 * pool.threads() / seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const int size = argc > 1 ? std::atoi(argv[1]) : 256, threads = argc > 2 ? std::atoi(argv[2]) : 0;
  ThreadPool pool(threads);
  auto ops = make_cpu_ops(pool);
  NetworkConfig config;
  config.width = 60;
  config.reduced = 15;
  config.stages.assign(4, {6, 6});
  std::mt19937 bits(1);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<std::vector<float>> storage;
  ParameterMap parameters;
  for (const auto& [name, shape] : config.parameter_shapes()) {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    storage.emplace_back(count);
    for (float& v : storage.back()) v = normal(bits);
    parameters[name] = {shape, storage.back().data()};
  }
  const int64_t pixels = int64_t{size} * size;
  std::vector<float> values(pixels * 6), result(pixels * 3);
  for (float& v : values) v = std::abs(normal(bits)) * 5;
  ForwardInput input;
  for (int i = 0; i < 3; ++i) input.exposures.push_back({values.data(), 1, size, size, 6});

  const double peak = measured_peak(pool);
  std::printf("%s, %d threads, measured peak %.0f GFLOP/s\n", ops->name(), pool.threads(), peak / 1e9);
  const auto row = [&](const std::string& name, double flops, double seconds) {
    std::printf("%-28s %8.3f s %8.1f GFLOP/s %5.1f %% of peak\n", name.c_str(), seconds, flops / seconds / 1e9,
                100 * flops / seconds / peak);
  };
  const double whole = bench::median_seconds(3, [&] {
    (void)forward(config, parameters, *ops, input, {result.data(), 1, size, size, 3});
  });
  row("smnet/" + std::to_string(size) + "/fp32", 3030264.0 * pixels, whole);

  std::vector<float> a(pixels * 60), b(pixels * 60);
  for (float& v : a) v = normal(bits) * 20;
  const ConstTensor x{a.data(), 1, size, size, 60};
  const Tensor out{b.data(), 1, size, size, 60};
  const auto weight = [&](const std::string& name) { return parameters.at(name).data; };
  const std::string block = "layers.0.residual_group.blocks.0.";
  const NormWeights norm{weight(block + "norm1.weight"), weight(block + "norm1.bias")};
  for (int shift : {0, 4}) {
    AttentionArgs args;
    args.x = x;
    args.out = out;
    args.shift = shift;
    args.weights = {norm,
                    weight(block + "attn.qkv.weight"),
                    weight(block + "attn.qkv.bias"),
                    weight(block + "attn.proj.weight"),
                    weight(block + "attn.proj.bias"),
                    weight(block + "attn.relative_position_bias_table"),
                    6};
    row(std::string("kernel/window_attention") + (shift ? "+shift" : ""), 2.0 * 22080 * pixels,
        bench::median_seconds(5, [&] { ops->window_attention(args); }));
  }
  const auto mlp = [&](const char* name, int hidden, bool with_norm) {
    MlpArgs args;
    args.x = x;
    args.out = out;
    args.residual = with_norm;
    const std::string n = name;
    args.weights = {with_norm ? norm : NormWeights{}, weight(n + ".fc1.weight"), weight(n + ".fc1.bias"),
                    weight(n + ".fc2.weight"),        weight(n + ".fc2.bias"),   hidden};
    row("kernel/mlp" + std::to_string(hidden), 2.0 * 120 * hidden * pixels,
        bench::median_seconds(5, [&] { ops->mlp(args); }));
  };
  mlp("layers.0.residual_group.blocks.0.mlp", 120, true);
  mlp("channel_layers.0.mlp", 240, true);
  mlp("mlps.0", 60, false);
  row("kernel/convolution60", 2.0 * 32400 * pixels, bench::median_seconds(5, [&] {
        ops->convolution(
            {x, weight("layers.0.conv.weight"), weight("layers.0.conv.bias"), Padding::zero, nullptr, false, out});
      }));
  row("kernel/convolution6", 2.0 * 3240 * pixels, bench::median_seconds(5, [&] {
        ops->convolution({input.exposures[0], weight("conv_first.0.weight"), weight("conv_first.0.bias"),
                          Padding::reflect, nullptr, false, out});
      }));
  LocalBranchArgs local{
      x,
      {norm, weight(block + "conv_cnn1.weight"), weight(block + "conv_cnn1.bias"), weight(block + "cab.mlp.0.weight"),
       weight(block + "cab.mlp.0.bias"), weight(block + "cab.mlp.2.weight"), weight(block + "cab.mlp.2.bias"),
       weight(block + "sab.conv2d.weight"), weight(block + "sab.conv2d.bias"), weight(block + "conv_cnn2.weight"),
       weight(block + "conv_cnn2.bias"), 15},
      out};
  row("kernel/local_branch", 2.0 * 1178 * pixels, bench::median_seconds(5, [&] { ops->local_branch(local); }));
  ExposureAttentionArgs exposure{
      x,
      {norm, weight("channel_layers.0.attn.q.weight"), weight("channel_layers.0.attn.k.weight"),
       weight("channel_layers.0.attn.v.weight"), weight("channel_layers.0.attn.project_out.weight")},
      3,
      out};
  row("kernel/exposure_attention", 2.0 * 7200 * pixels,
      bench::median_seconds(5, [&] { ops->exposure_attention(exposure); }));
  row("kernel/layer_norm", 2.0 * 240 * pixels, bench::median_seconds(5, [&] { ops->layer_norm(x, norm, out); }));
  return 0;
}
