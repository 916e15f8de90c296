// The algebra of the inter-exposure attention. After the normalisation everything is linear once the attention between
// channels is known, and that follows from the Gram matrix G of z alone:
//   Q = Wq tile (acts on the reference's channels), T = Q G Wk^T, |q|^2 = diag(Q G Q^T), |k|^2 = diag(Wk G Wk^T),
//   A = softmax over a head of T / (|q| |k|), out = x + M z with M = Wo A Wv.
#include <algorithm>
#include <cmath>

#include "ops/cpu_ops.h"

namespace smhdr {
namespace {

using Matrix = std::vector<double>;

/// Square matrices of side n: a b, a b^T or a^T b.
enum class Form { plain, right_transposed, left_transposed };
Matrix multiply(const Matrix& a, const Matrix& b, int n, Form form = Form::plain) {
  Matrix out(size_t(n) * n);
  for (int i = 0; i < n; ++i)
    for (int k = 0; k < n; ++k) {
      if (form == Form::right_transposed) {
        double total = 0;
        for (int j = 0; j < n; ++j) total += a[size_t(i) * n + j] * b[size_t(k) * n + j];
        out[size_t(i) * n + k] = total;
        continue;
      }
      const double left = form == Form::plain ? a[size_t(i) * n + k] : a[size_t(k) * n + i];
      for (int j = 0; j < n; ++j) out[size_t(i) * n + j] += left * b[size_t(k) * n + j];
    }
  return out;
}

struct Attention {
  int channels, heads, slot, first;
  Matrix gram, query, key, value, out;  // query is Wq tile, as a C x C matrix
  Matrix query_gram, key_gram;          // query G, key G
  std::vector<double> query_norm, key_norm;
  Matrix cosine, attention;  // block diagonal: zero outside of a head

  Attention(const ExposureAttentionArgs& args, const double* g)
      : channels(args.x.channels),
        heads(exposure_heads(channels, args.exposures)),
        first(part_start(args.exposures / 2, args.exposures, channels)) {
    slot = part_start(args.exposures / 2 + 1, args.exposures, channels) - first;
    const size_t square = size_t(channels) * channels;
    const auto copy = [&](const float* from) { return Matrix(from, from + square); };
    gram.assign(g, g + square);
    key = copy(args.weights.k);
    value = copy(args.weights.v);
    out = copy(args.weights.out);
    query.resize(square);
    for (int o = 0; o < channels; ++o)
      for (int c = 0; c < channels; ++c)
        query[size_t(o) * channels + first + c % slot] += args.weights.q[o * channels + c];
    query_gram = multiply(query, gram, channels);
    key_gram = multiply(key, gram, channels);
    const auto norms = [&](const Matrix& with_gram, const Matrix& plain) {
      std::vector<double> norm(channels);
      for (int o = 0; o < channels; ++o) {
        double squared = 0;
        for (int c = 0; c < channels; ++c)
          squared += with_gram[size_t(o) * channels + c] * plain[size_t(o) * channels + c];
        norm[o] = std::max(std::sqrt(std::max(squared, 0.0)), 1e-12);
      }
      return norm;
    };
    query_norm = norms(query_gram, query);
    key_norm = norms(key_gram, key);
    cosine.resize(square);
    attention.resize(square);
    for (int o = 0; o < channels; ++o) {
      double top = -INFINITY, total = 0;
      each_in_head(o, [&](int j) {
        double dot = 0;
        for (int c = 0; c < channels; ++c) dot += query_gram[size_t(o) * channels + c] * key[size_t(j) * channels + c];
        top = std::max(top, cosine[size_t(o) * channels + j] = dot / (query_norm[o] * key_norm[j]));
      });
      each_in_head(o, [&](int j) {
        total += attention[size_t(o) * channels + j] = std::exp(cosine[size_t(o) * channels + j] - top);
      });
      each_in_head(o, [&](int j) { attention[size_t(o) * channels + j] /= total; });
    }
  }

  template <typename Body>
  void each_in_head(int o, Body body) const {
    const int head = ((o + 1) * heads - 1) / channels;  // the last to begin at o or before
    for (int j = part_start(head, heads, channels); j < part_start(head + 1, heads, channels); ++j) body(j);
  }
};

std::vector<float> to_floats(const Matrix& m) { return {m.begin(), m.end()}; }

}  // namespace

std::vector<float> exposure_product(const ExposureAttentionArgs& args, const double* gram) {
  const Attention a(args, gram);
  return to_floats(multiply(a.out, multiply(a.attention, a.value, a.channels), a.channels));
}

ExposureProductGradients exposure_product_backward(const ExposureAttentionArgs& args, const double* gram,
                                                   const double* grad_product) {
  const Attention a(args, gram);
  const int n = a.channels;
  const size_t square = size_t(n) * n;
  const Matrix grad(grad_product, grad_product + square), attended = multiply(a.attention, a.value, n),
                                                          product = multiply(a.out, attended, n);
  ExposureProductGradients result;
  result.out = multiply(grad, attended, n, Form::right_transposed);
  const Matrix grad_attended = multiply(a.out, grad, n, Form::left_transposed);
  result.v = multiply(a.attention, grad_attended, n, Form::left_transposed);
  const Matrix grad_attention = multiply(grad_attended, a.value, n, Form::right_transposed);

  // Softmax, then the cosine: T over both norms.
  Matrix grad_dot(square);
  std::vector<double> grad_query_squared(n), grad_key_squared(n);
  for (int o = 0; o < n; ++o) {
    double along = 0;
    a.each_in_head(o, [&](int j) { along += a.attention[size_t(o) * n + j] * grad_attention[size_t(o) * n + j]; });
    a.each_in_head(o, [&](int j) {
      const size_t at = size_t(o) * n + j;
      const double slope = a.attention[at] * (grad_attention[at] - along);
      grad_dot[at] = slope / (a.query_norm[o] * a.key_norm[j]);
      grad_query_squared[o] -= slope * a.cosine[at] / (2 * a.query_norm[o] * a.query_norm[o]);
      grad_key_squared[j] -= slope * a.cosine[at] / (2 * a.key_norm[j] * a.key_norm[j]);
    });
  }
  Matrix grad_query = multiply(grad_dot, a.key_gram, n),
         grad_gram = multiply(multiply(a.query, grad_dot, n, Form::left_transposed), a.key, n);
  result.k = multiply(grad_dot, a.query_gram, n, Form::left_transposed);
  for (int o = 0; o < n; ++o)
    for (int c = 0; c < n; ++c) {
      const size_t at = size_t(o) * n + c;
      grad_query[at] += 2 * grad_query_squared[o] * a.query_gram[at];
      result.k[at] += 2 * grad_key_squared[o] * a.key_gram[at];
      for (int d = 0; d < n; ++d)
        grad_gram[size_t(c) * n + d] += grad_query_squared[o] * a.query[at] * a.query[size_t(o) * n + d] +
                                        grad_key_squared[o] * a.key[at] * a.key[size_t(o) * n + d];
    }
  result.q.resize(square);
  for (int o = 0; o < n; ++o)
    for (int c = 0; c < n; ++c) result.q[size_t(o) * n + c] = grad_query[size_t(o) * n + a.first + c % a.slot];
  result.square.resize(square);
  result.transposed.resize(square);
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) {
      result.square[size_t(i) * n + j] =
          static_cast<float>(grad_gram[size_t(i) * n + j] + grad_gram[size_t(j) * n + i]);
      result.transposed[size_t(i) * n + j] = static_cast<float>(product[size_t(j) * n + i]);
    }
  return result;
}

}  // namespace smhdr
