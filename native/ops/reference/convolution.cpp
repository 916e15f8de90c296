#include <vector>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {

int reflect(int at, int length) {
  if (length == 1) return 0;
  while (at < 0 || at >= length) at = at < 0 ? -at : 2 * (length - 1) - at;
  return at;
}

void convolution(const ConvolutionArgs& a) {
  const int height = a.x.height, width = a.x.width, in = a.x.channels, out = a.out.channels, side = a.kernel;
  const int64_t pitch = a.out_pitch ? a.out_pitch : out;
  for (int b = 0; b < a.x.batch; ++b)
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        for (int o = 0; o < out; ++o) {
          const int64_t pixel = (int64_t{b} * height + y) * width + x;
          double sum = a.bias[o];
          for (int ky = 0; ky < side; ++ky)
            for (int kx = 0; kx < side; ++kx) {
              int sy = y + ky - side / 2, sx = x + kx - side / 2;
              if (a.padding == Padding::reflect) {
                sy = reflect(sy, height);
                sx = reflect(sx, width);
              } else if (sy < 0 || sy >= height || sx < 0 || sx >= width) {
                continue;
              }
              const float* from = a.x.at(b, sy, sx);
              for (int i = 0; i < in; ++i)
                sum += double(a.weight[((int64_t{o} * in + i) * side + ky) * side + kx]) * from[i];
            }
          if (a.add) sum += a.add[pixel * out + o];
          a.out.data[pixel * pitch + o] = static_cast<float>(a.sigmoid ? sigmoid(sum) : sum);
        }
}

void depthwise(ConstTensor input, const float* weight, const float* bias, Tensor out) {
  for (int b = 0; b < input.batch; ++b)
    for (int y = 0; y < input.height; ++y)
      for (int x = 0; x < input.width; ++x)
        for (int c = 0; c < input.channels; ++c) {
          double sum = bias[c];
          for (int ky = 0; ky < 3; ++ky)
            for (int kx = 0; kx < 3; ++kx) {
              const int sy = y + ky - 1, sx = x + kx - 1;
              if (sy < 0 || sy >= input.height || sx < 0 || sx >= input.width) continue;
              sum += double(weight[(c * 3 + ky) * 3 + kx]) * input.at(b, sy, sx)[c];
            }
          out.at(b, y, x)[c] = static_cast<float>(sum);
        }
}

void convolution_backward(const ConvolutionBackwardArgs& a) {
  const int height = a.x.height, width = a.x.width, in = a.x.channels, out = a.grad_out.channels;
  std::vector<double> grad_x(a.x.size()), grad_weight(size_t(out) * in * 9), grad_bias(out);
  for (int b = 0; b < a.x.batch; ++b)
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        for (int o = 0; o < out; ++o) {
          const double g = a.grad_out.at(b, y, x)[o];
          grad_bias[o] += g;
          for (int ky = 0; ky < 3; ++ky)
            for (int kx = 0; kx < 3; ++kx) {
              int sy = y + ky - 1, sx = x + kx - 1;
              if (a.padding == Padding::reflect) {
                sy = reflect(sy, height);
                sx = reflect(sx, width);
              } else if (sy < 0 || sy >= height || sx < 0 || sx >= width) {
                continue;
              }
              const int64_t pixel = a.x.at(b, sy, sx) - a.x.data;
              for (int i = 0; i < in; ++i) {
                const int64_t tap = ((int64_t{o} * in + i) * 3 + ky) * 3 + kx;
                grad_x[pixel + i] += g * a.weight[tap];
                grad_weight[tap] += g * a.x.data[pixel + i];
              }
            }
        }
  for (size_t i = 0; a.grad_weight && i < grad_weight.size(); ++i)
    a.grad_weight[i] += static_cast<float>(grad_weight[i]);
  for (int o = 0; a.grad_bias && o < out; ++o) a.grad_bias[o] += static_cast<float>(grad_bias[o]);
  for (size_t i = 0; a.grad_x.data && i < grad_x.size(); ++i) a.grad_x.data[i] = static_cast<float>(grad_x[i]);
}

void depthwise_backward(ConstTensor x, const float* weight, ConstTensor grad_out, float* grad_weight, float* grad_bias,
                        Tensor grad_x) {
  const int channels = x.channels;
  std::vector<double> grad_in(x.size()), weights(size_t(channels) * 9), biases(channels);
  for (int b = 0; b < x.batch; ++b)
    for (int py = 0; py < x.height; ++py)
      for (int px = 0; px < x.width; ++px)
        for (int c = 0; c < channels; ++c) {
          const double g = grad_out.at(b, py, px)[c];
          biases[c] += g;
          for (int ky = 0; ky < 3; ++ky)
            for (int kx = 0; kx < 3; ++kx) {
              const int sy = py + ky - 1, sx = px + kx - 1;
              if (sy < 0 || sy >= x.height || sx < 0 || sx >= x.width) continue;
              const int64_t at = x.at(b, sy, sx) - x.data + c;
              grad_in[at] += g * weight[(c * 3 + ky) * 3 + kx];
              weights[(c * 3 + ky) * 3 + kx] += g * x.data[at];
            }
        }
  for (size_t i = 0; grad_weight && i < weights.size(); ++i) grad_weight[i] += static_cast<float>(weights[i]);
  for (int c = 0; grad_bias && c < channels; ++c) grad_bias[c] += static_cast<float>(biases[c]);
  for (size_t i = 0; i < grad_in.size(); ++i) grad_x.data[i] = static_cast<float>(grad_in[i]);
}

}  // namespace smhdr::reference
