// Each fused kernel alone, forward and backward, at 512 x 512 pixels of 60 channels (63 MB, more than caches hold).
// Operations are those the kernel's interface demands, a backward one's own recomputation of the forward included;
// bytes are its tensors, read and written once.
#include <memory>

#include "bench.h"
#include "random_network.h"

namespace smhdr::bench {
namespace {

constexpr int kWidth = 60;
const std::string kBlock = "layers.0.residual_group.blocks.0.";

/// What the kernels work on; made when the first of them is measured.
class Field {
 public:
  Field(ThreadPool& pool, const Variant& variant, int side)
      : side(side),
        pixels(int64_t{side} * side),
        ops(variant.make_ops(pool)),
        sums_(network_.parameters),
        x_(random_values(pixels * kWidth, 1)),
        out_(pixels * kWidth),
        grad_(random_values(pixels * kWidth, 1)) {}

  const int side;
  const int64_t pixels;
  const std::unique_ptr<Ops> ops;

  ConstTensor x(int channels = kWidth) const { return {x_.data(), 1, side, side, channels}; }
  Tensor out(int channels = kWidth) { return {out_.data(), 1, side, side, channels}; }
  ConstTensor grad() const { return {grad_.data(), 1, side, side, kWidth}; }
  const float* weight(const std::string& name) const { return network_.parameters.at(name).data; }
  float* sum(const std::string& name) const { return sums_.map.at(name).data; }
  NormWeights norm(const std::string& name) const { return {weight(name + ".weight"), weight(name + ".bias")}; }
  NormGradients norm_sums(const std::string& name) const { return {sum(name + ".weight"), sum(name + ".bias")}; }

 private:
  RandomNetwork network_;
  Accumulators sums_;
  std::vector<float> x_, out_, grad_;
};

AttentionArgs attention(Field& f, int shift) {
  AttentionArgs args;
  args.x = f.x();
  args.out = f.out();
  args.shift = shift;
  const std::string name = kBlock + "attn.";
  args.weights = {f.norm(kBlock + "norm1"),
                  f.weight(name + "qkv.weight"),
                  f.weight(name + "qkv.bias"),
                  f.weight(name + "proj.weight"),
                  f.weight(name + "proj.bias"),
                  f.weight(name + "relative_position_bias_table"),
                  6};
  return args;
}

void attention_backward(Field& f, int shift) {
  const std::string name = kBlock + "attn.";
  f.ops->window_attention_backward(
      {attention(f, shift),
       f.grad(),
       {f.norm_sums(kBlock + "norm1"), f.sum(name + "qkv.weight"), f.sum(name + "qkv.bias"),
        f.sum(name + "proj.weight"), f.sum(name + "proj.bias"), f.sum(name + "relative_position_bias_table")},
       f.out()});
}

struct MlpKind {
  std::string name;
  std::string norm;  // empty: none, and no residual
  int hidden;
};
const MlpKind kMlps[] = {{kBlock + "mlp", kBlock + "norm2", 120},
                         {"channel_layers.0.mlp", "channel_layers.0.norm2", 240},
                         {"mlps.0", "", 60}};

MlpArgs mlp(Field& f, const MlpKind& kind) {
  MlpArgs args;
  args.x = f.x();
  args.out = f.out();
  args.residual = !kind.norm.empty();
  const std::string& name = kind.name;
  args.weights = {kind.norm.empty() ? NormWeights{} : f.norm(kind.norm),
                  f.weight(name + ".fc1.weight"),
                  f.weight(name + ".fc1.bias"),
                  f.weight(name + ".fc2.weight"),
                  f.weight(name + ".fc2.bias"),
                  kind.hidden};
  return args;
}

void mlp_backward(Field& f, const MlpKind& kind) {
  const std::string& name = kind.name;
  f.ops->mlp_backward({mlp(f, kind),
                       f.grad(),
                       {kind.norm.empty() ? NormGradients{} : f.norm_sums(kind.norm), f.sum(name + ".fc1.weight"),
                        f.sum(name + ".fc1.bias"), f.sum(name + ".fc2.weight"), f.sum(name + ".fc2.bias")},
                       f.out()});
}

void convolution(Field& f, const std::string& name, int channels, Padding padding) {
  f.ops->convolution(
      {f.x(channels), f.weight(name + ".weight"), f.weight(name + ".bias"), padding, nullptr, false, f.out()});
}

void convolution_backward(Field& f, const std::string& name, int channels, Padding padding) {
  f.ops->convolution_backward({f.x(channels), f.weight(name + ".weight"), padding, f.grad(), f.sum(name + ".weight"),
                               f.sum(name + ".bias"), f.out(channels)});
}

LocalBranchArgs local(Field& f) {
  const std::string& b = kBlock;
  return {f.x(),
          {f.norm(b + "norm1"), f.weight(b + "conv_cnn1.weight"), f.weight(b + "conv_cnn1.bias"),
           f.weight(b + "cab.mlp.0.weight"), f.weight(b + "cab.mlp.0.bias"), f.weight(b + "cab.mlp.2.weight"),
           f.weight(b + "cab.mlp.2.bias"), f.weight(b + "sab.conv2d.weight"), f.weight(b + "sab.conv2d.bias"),
           f.weight(b + "conv_cnn2.weight"), f.weight(b + "conv_cnn2.bias"), 15},
          f.out()};
}

void local_backward(Field& f) {
  const std::string& b = kBlock;
  f.ops->local_branch_backward(
      {local(f),
       f.grad(),
       {f.norm_sums(b + "norm1"), f.sum(b + "conv_cnn1.weight"), f.sum(b + "conv_cnn1.bias"),
        f.sum(b + "cab.mlp.0.weight"), f.sum(b + "cab.mlp.0.bias"), f.sum(b + "cab.mlp.2.weight"),
        f.sum(b + "cab.mlp.2.bias"), f.sum(b + "sab.conv2d.weight"), f.sum(b + "sab.conv2d.bias"),
        f.sum(b + "conv_cnn2.weight"), f.sum(b + "conv_cnn2.bias")},
       f.out()});
}

ExposureAttentionArgs exposure(Field& f) {
  const std::string name = "channel_layers.0.attn.";
  return {f.x(),
          {f.norm("channel_layers.0.norm1_x.body"), f.weight(name + "q.weight"), f.weight(name + "k.weight"),
           f.weight(name + "v.weight"), f.weight(name + "project_out.weight")},
          3,
          f.out()};
}

void exposure_backward(Field& f) {
  const std::string name = "channel_layers.0.attn.";
  f.ops->exposure_attention_backward(
      {exposure(f),
       f.grad(),
       {f.norm_sums("channel_layers.0.norm1_x.body"), f.sum(name + "q.weight"), f.sum(name + "k.weight"),
        f.sum(name + "v.weight"), f.sum(name + "project_out.weight")},
       f.out()});
}

}  // namespace

void add_kernels(Bench& bench) {
  for (const Variant& variant : variants()) {
    const auto field = std::make_shared<std::unique_ptr<Field>>();
    /// Multiply-adds and values touched, for each pixel.
    const auto add = [&](const std::string& name, double products, double values, std::function<void(Field&)> work) {
      const std::string suffix = variant.name == "fp32" ? "" : "/" + variant.name;
      bench.add("kernel/" + name + suffix, [&bench, variant, field, products, values, work] {
        if (!*field) *field = std::make_unique<Field>(bench.pool, variant, bench.options.quick ? 64 : 512);
        Field& f = **field;
        return bench.against_peaks(variant, 2 * products * double(f.pixels), 4 * values * double(f.pixels),
                                   [&] { work(f); });
      });
    };
    constexpr double C = kWidth, forward = 2 * C, backward = 3 * C;
    for (int shift : {0, kShift}) {
      const std::string name = shift ? "window_attention+shift" : "window_attention";
      // qkv 3 C^2, q k^T and attention times v 64 C each, projection C^2.
      add(name, 4 * C * C + 128 * C, forward, [shift](Field& f) { f.ops->window_attention(attention(f, shift)); });
      // Forward but for the projection; then two products for each of the forward's.
      add(name + "/backward", 3 * C * C + 128 * C + 2 * (4 * C * C + 128 * C), backward,
          [shift](Field& f) { attention_backward(f, shift); });
    }
    for (const MlpKind& kind : kMlps) {
      const std::string name = "mlp" + std::to_string(kind.hidden);
      add(name, 2 * C * kind.hidden, forward, [&kind](Field& f) { f.ops->mlp(mlp(f, kind)); });
      // fc1 again, then two products for each of the two layers.
      add(name + "/backward", 5 * C * kind.hidden, backward, [&kind](Field& f) { mlp_backward(f, kind); });
    }
    // The three of a masked hybrid attention block as one.
    add("hybrid_block", 18 * C + 98 + 4 * C * C + 128 * C + 2 * C * 120, forward, [](Field& f) {
      f.ops->hybrid_block({local(f), attention(f, 0), mlp(f, kMlps[0]), f.out()});
    });
    add("convolution60", 9 * C * C, forward, [](Field& f) { convolution(f, "layers.0.conv", kWidth, Padding::zero); });
    add("convolution60/backward", 18 * C * C, backward,
        [](Field& f) { convolution_backward(f, "layers.0.conv", kWidth, Padding::zero); });
    add("convolution6", 54 * C, C + 6, [](Field& f) { convolution(f, "conv_first.0", 6, Padding::reflect); });
    add("convolution6/backward", 108 * C, C + 12,
        [](Field& f) { convolution_backward(f, "conv_first.0", 6, Padding::reflect); });
    // Two depthwise convolutions and the 7x7 one of two channels.
    add("local_branch", 18 * C + 98, forward, [](Field& f) { f.ops->local_branch(local(f)); });
    // All but the last convolution again, then two products for each; its gradient is added to what is there.
    add("local_branch/backward", 9 * C + 98 + 2 * (18 * C + 98), backward + C, local_backward);
    // The Gram matrix, then one folded product.
    add("exposure_attention", 2 * C * C, forward, [](Field& f) { f.ops->exposure_attention(exposure(f)); });
    // Two Gram matrices and two products.
    add("exposure_attention/backward", 4 * C * C, backward, exposure_backward);
    // Mean, variance, scaling, gain: a multiply-add each.
    add("layer_norm", 4 * C, forward, [](Field& f) { f.ops->layer_norm(f.x(), f.norm(kBlock + "norm1"), f.out()); });
    // Four logits and the prior's pixels read, radiance written; for a channel a quotient, a logarithm, a blend, a
    // sigmoid.
    add("prior", 3 * 22, 6 + 4 + 3, [](Field& f) { f.ops->prior({f.x(4), f.x(6), f.out(3)}); });
    add("prior/backward", 3 * 22, 6 + 4 + 2 * 3 + 4, [](Field& f) {
      f.ops->prior_backward({{f.x(4), f.x(6), f.out(3)}, f.x(3), f.out(4)});
    });
    add("layer_norm/backward", 8 * C, backward, [](Field& f) {
      f.ops->layer_norm_backward(f.x(), f.norm(kBlock + "norm1"), f.grad(), f.norm_sums(kBlock + "norm1"), f.out());
    });
  }
}

}  // namespace smhdr::bench
