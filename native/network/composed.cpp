#include "network/composed.h"

#include <algorithm>

#include "network/fold.h"

namespace smhdr {

using network::Pass;

namespace {

using Kernel = Composed::Kernel;

constexpr const char* kLinear[] = {"conv_first.0", "conv_first.1", "conv_first.2",
                                   "conv_skip",    "conv_end",     "conv_after_body"};

std::vector<float> values_of(Memory& memory, const float* data, int64_t count) {
  std::vector<float> values(count);
  memory.download(data, values.data(), count);
  return values;
}

Kernel kernel_of(Memory& memory, const ParameterMap& parameters, const std::string& name) {
  const Parameter &weight = parameters.at(name + ".weight"), &bias = parameters.at(name + ".bias");
  Kernel k{static_cast<int>(weight.shape[0]), static_cast<int>(weight.shape[1]), static_cast<int>(weight.shape[2])};
  k.weight = values_of(memory, weight.data, int64_t{k.outputs} * k.inputs * k.side * k.side);
  k.bias = values_of(memory, bias.data, k.outputs);
  return k;
}

/// outer(inner(x)) as one kernel.
Kernel compose(const Kernel& outer, const Kernel& inner) {
  const int side = outer.side + inner.side - 1;
  Kernel out{outer.outputs, inner.inputs, side, {}, outer.bias, {}, {}};
  std::vector<double> weight(size_t(out.outputs) * out.inputs * side * side);
  for (int o = 0; o < outer.outputs; ++o)
    for (int m = 0; m < outer.inputs; ++m)
      for (int tap = 0; tap < outer.side * outer.side; ++tap) {
        const double factor = outer.weight[(size_t(o) * outer.inputs + m) * outer.side * outer.side + tap];
        out.bias[o] += static_cast<float>(factor * inner.bias[m]);
        for (int i = 0; i < inner.inputs; ++i)
          for (int y = 0; y < inner.side; ++y) {
            const float* from = inner.weight.data() + ((size_t(m) * inner.inputs + i) * inner.side + y) * inner.side;
            double* to =
                weight.data() + ((size_t(o) * out.inputs + i) * side + y + tap / outer.side) * side + tap % outer.side;
            for (int x = 0; x < inner.side; ++x) to[x] += factor * from[x];
          }
      }
  out.weight.assign(weight.begin(), weight.end());
  return out;
}

/// The outputs' mean over the groups of channels: what folding does to one exposure's features.
Kernel fold(const Kernel& kernel, int exposures) {
  const int channels = kernel.outputs, taps = kernel.inputs * kernel.side * kernel.side;
  Kernel out{(channels + exposures - 1) / exposures, kernel.inputs, kernel.side};
  out.weight.resize(size_t(out.outputs) * taps);
  out.bias.resize(out.outputs);
  for (int j = 0; j < out.outputs; ++j) {
    int groups = 0;
    for (int g = 0; g < exposures; ++g) {
      const int from = part_start(g, exposures, channels) + j;
      if (from >= part_start(g + 1, exposures, channels)) continue;
      ++groups;
      for (int t = 0; t < taps; ++t) out.weight[size_t(j) * taps + t] += kernel.weight[size_t(from) * taps + t];
      out.bias[j] += kernel.bias[from];
    }
    for (int t = 0; t < taps; ++t) out.weight[size_t(j) * taps + t] /= groups;
    out.bias[j] /= groups;
  }
  return out;
}

/// What the learnt fold does to the features of exposure i.
Kernel fold_of(const NetworkConfig& config, const float* weight, int i) {
  const int c = config.width;
  Kernel out{c, c, 1, {}, std::vector<float>(c), {}, {}};
  for (int o = 0; o < c; ++o) {
    const float* row = weight + network::fold_row(config, i, o);
    out.weight.insert(out.weight.end(), row, row + c);
  }
  return out;
}

/// A side of the image as a picture of its own whose rows run along that side: row 0 is the image's edge or, at the
/// bottom and the right, the last row is.
struct Side {
  bool turned, far;  // turned: left or right
};
constexpr Side kSides[] = {{false, false}, {false, true}, {true, false}, {true, true}};

/// Hands out parts of a device's memory that is free for a while.
class Parts {
 public:
  explicit Parts(Tensor free) : next_(free.data) {}
  float* get(int64_t floats) {
    float* data = next_;
    next_ += (floats + 15) / 16 * 16;
    return data;
  }

 private:
  float* next_;
};

/// `depth` rows of pixels along a side.
class Strip {
 public:
  Strip(Ops& ops, Parts& parts, ConstTensor image, Side side, int depth)
      : Strip(ops, parts, image, side, depth, image.channels) {
    ops.copy_pixels({of_image(const_cast<float*>(image.data), 0, image.channels), own(0), view_.batch, depth,
                     view_.width, channels_});
  }
  /// Not filled, of other channels.
  Strip(Ops& ops, Parts& parts, ConstTensor image, Side side, int depth, int channels)
      : ops_(ops),
        image_(image),
        side_(side),
        channels_(channels),
        view_{nullptr, image.batch, depth, side.turned ? image.height : image.width, channels} {
    view_.data = parts.get(view_.size());
  }
  Tensor view() { return view_; }

  /// The `count` rows at the image's edge to pixels of `pitch` floats.
  void paste(int count, float* to, int64_t pitch) {
    const int first = side_.far ? view_.height - count : 0;
    ops_.copy_pixels({own(first), of_image(to, first, pitch), view_.batch, count, view_.width, channels_});
  }

 private:
  Lattice own(int first) const {
    const int64_t row = int64_t{view_.width} * channels_;
    return {view_.data + first * row, view_.height * row, row, channels_};
  }
  /// The same pixels of a picture of the image's size, by the strip's rows and columns.
  Lattice of_image(float* data, int first, int64_t pitch) const {
    const int across = side_.turned ? image_.width : image_.height, start = side_.far ? across - view_.height : 0;
    const int64_t line = image_.width * pitch, down = side_.turned ? pitch : line, along = side_.turned ? line : pitch;
    return {data + (start + first) * down, image_.height * line, down, along};
  }

  Ops& ops_;
  ConstTensor image_;
  Side side_;
  int channels_;
  Tensor view_;
};

ConvolutionArgs args_of(const Kernel& kernel, ConstTensor x, Tensor out) {
  ConvolutionArgs args{x,   kernel.device_weight.data(), kernel.device_bias.data(), Padding::zero, nullptr, false, out,
                       true};
  args.kernel = kernel.side;
  return args;
}

}  // namespace

Composed::Composed(const NetworkConfig& config, const ParameterMap& parameters, int exposures, Memory& memory)
    : exposures_(exposures), no_bias_(zeros(memory, config.outputs())) {
  const auto kernel = [&](const char* name) { return kernel_of(memory, parameters, name); };
  const Kernel first = kernel("conv_first.0"), second = kernel("conv_first.1"), third = kernel("conv_first.2");
  Kernel end = kernel("conv_end");
  tail_ = compose(end, kernel("conv_after_body"));
  std::fill(end.bias.begin(), end.bias.end(), 0.0f);
  // From the output's side: few outputs make the products small.
  const auto into = [&](const Kernel& folded) { slots_.push_back(compose(compose(folded, second), first)); };
  if (config.slots) {
    const Parameter& weight = parameters.at("fold.weight");
    const OnHost fold(memory, weight.data, weight.size());
    for (int i = 0; i < exposures; ++i) into(compose(fold_of(config, fold.data(), i), third));
    turned_parameters_["fold.weight"] = weight;
  } else {
    into(fold(third, exposures));
  }
  skip_ = compose(compose(compose(compose(end, kernel("conv_skip")), third), second), first);

  lacks_memory_ = !no_bias_;
  const auto place = [&](const std::vector<float>& values) {
    OnDevice placed(memory, values.data(), static_cast<int64_t>(values.size()));
    lacks_memory_ = lacks_memory_ || !placed.data();
    return placed;
  };
  const auto place_kernel = [&](Kernel& k) {
    k.device_weight = place(k.weight);
    k.device_bias = place(k.bias);
  };
  for (Kernel& slot : slots_) place_kernel(slot);
  place_kernel(skip_);
  place_kernel(tail_);
  for (const char* name : kLinear) {
    const std::string weight = std::string(name) + ".weight", bias = std::string(name) + ".bias";
    const Parameter& from = parameters.at(weight);
    const OnHost values(memory, from.data, from.size());
    turned_.emplace_back(from.size());
    std::vector<float>& to = turned_.back();
    for (size_t i = 0; i < to.size(); ++i) to[i] = values.data()[i / 9 * 9 + i % 3 * 3 + i % 9 / 3];
    turned_on_device_.push_back(place(to));
    turned_parameters_[weight] = {from.shape, const_cast<float*>(turned_on_device_.back().data())};
    turned_parameters_[bias] = parameters.at(bias);
  }
}

void Composed::extract(const Pass& pass, const std::vector<ConstTensor>& exposures, Tensor out, Tensor skip_end,
                       Tensor scratch) const {
  const int count = exposures_, reference = pass.config.reference(count), channels = out.channels;
  const auto slot = [&](int i) { return part_start(i, count, channels); };
  for (int i = 0; i < count; ++i) {
    if (pass.config.slots) {
      ConvolutionArgs args = args_of(slots_[i], exposures[i], out);
      if (i > 0) args.add = out.data;
      pass.ops.convolution(args);
      continue;
    }
    Tensor slice = out;
    slice.data += slot(i);
    slice.channels = slot(i + 1) - slot(i);
    ConvolutionArgs args = args_of(slots_[0], exposures[i], slice);
    args.out_pitch = channels;
    pass.ops.convolution(args);
  }
  pass.ops.convolution(args_of(skip_, exposures[reference], skip_end));

  // Three pixels of the features and five of the skip see the padding; as many more see where the strip was cut off.
  constexpr int depth = 10;
  for (const Side side : kSides) {
    const Pass own{pass.config, side.turned ? turned_parameters_ : pass.parameters, pass.ops, nullptr, count, pass.mask,
                   nullptr};
    Parts parts(scratch);
    Strip folded(own.ops, parts, out, side, depth, channels), a(own.ops, parts, out, side, depth, channels),
        b(own.ops, parts, out, side, depth, channels), end(own.ops, parts, skip_end, side, depth, skip_end.channels);
    for (int i = 0; i < count; ++i) {
      Parts own_parts = parts;
      Strip exposure(own.ops, own_parts, exposures[i], side, depth);
      own.convolution("conv_first.0", exposure.view(), Padding::reflect, a.view());
      own.convolution("conv_first.1", a.view(), Padding::reflect, b.view());
      own.convolution("conv_first.2", b.view(), Padding::reflect, a.view());
      network::fold(own, a.view(), i, folded.view());
      if (i != reference) continue;
      own.convolution("conv_skip", a.view(), Padding::zero, b.view());
      own.ops.convolution(
          {b.view(), own.weight("conv_end.weight"), no_bias_.data(), Padding::zero, nullptr, false, end.view(), true});
      end.paste(5, skip_end.data, skip_end.channels);
    }
    folded.paste(3, out.data, channels);
  }
}

void Composed::finish(const Pass& pass, ConstTensor x, Tensor skip_end, Tensor out, Tensor scratch) const {
  ConvolutionArgs args = args_of(tail_, x, out);
  args.add = skip_end.data;
  args.sigmoid = !pass.config.prior;
  pass.ops.convolution(args);
  constexpr int depth = 4;
  for (const Side side : kSides) {
    const Pass own{
        pass.config, side.turned ? turned_parameters_ : pass.parameters, pass.ops, nullptr, exposures_, pass.mask,
        nullptr};
    Parts parts(scratch);
    Strip body(own.ops, parts, x, side, depth), after(own.ops, parts, x, side, depth, x.channels),
        skip(own.ops, parts, skip_end, side, depth), end(own.ops, parts, out, side, depth, out.channels);
    own.convolution("conv_after_body", body.view(), Padding::zero, after.view());
    own.convolution("conv_end", after.view(), Padding::zero, end.view(), skip.view().data, args.sigmoid);
    end.paste(2, out.data, out.channels);
  }
}

}  // namespace smhdr
