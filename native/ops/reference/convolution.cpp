#include "ops/reference/reference_ops.h"

namespace smhdr::reference {

int reflect(int at, int length) {
  if (length == 1) return 0;
  while (at < 0 || at >= length) at = at < 0 ? -at : 2 * (length - 1) - at;
  return at;
}

void convolution(const ConvolutionArgs& a) {
  const int height = a.x.height, width = a.x.width, in = a.x.channels, out = a.out.channels;
  for (int b = 0; b < a.x.batch; ++b)
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        for (int o = 0; o < out; ++o) {
          double sum = a.bias[o];
          for (int ky = 0; ky < 3; ++ky)
            for (int kx = 0; kx < 3; ++kx) {
              int sy = y + ky - 1, sx = x + kx - 1;
              if (a.padding == Padding::reflect) {
                sy = reflect(sy, height);
                sx = reflect(sx, width);
              } else if (sy < 0 || sy >= height || sx < 0 || sx >= width) {
                continue;
              }
              const float* pixel = a.x.at(b, sy, sx);
              for (int i = 0; i < in; ++i) sum += double(a.weight[((o * in + i) * 3 + ky) * 3 + kx]) * pixel[i];
            }
          if (a.add) sum += a.add[a.out.at(b, y, x) - a.out.data + o];
          a.out.at(b, y, x)[o] = static_cast<float>(a.sigmoid ? sigmoid(sum) : sum);
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

}  // namespace smhdr::reference
