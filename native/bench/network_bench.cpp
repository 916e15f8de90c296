// The whole forward pass, and how its time and memory grow with the picture: whole while that fits into memory, in
// tiles with shared sums beyond, as the product works (which the rows growth/network of `smhdr bench` measure).
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>

#include "bench.h"
#include "network/composed.h"
#include "random_network.h"

namespace smhdr::bench {
namespace {

constexpr int kTile = 768, kOverlap = 64;
/// A pixel's intermediates, inputs and output, as src/engine/native.ts counts them.
constexpr int64_t kBytesPerPixel = 4 * (4 * 60 + 11 + 18 + 3);

void check(const Status& status) {
  if (!status.ok()) std::fprintf(stderr, "smhdr_bench: %s\n", status.error().message.c_str());
}

/// Bytes that can be taken without swapping; a guess of 4 GiB where the system does not say.
int64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("MemAvailable:", 0) == 0) return std::stoll(line.substr(13)) * 1024;
  return int64_t{4} << 30;
}

Row network(Bench& bench, const Variant& variant, const NetworkSize& size, int side) {
  RandomNetwork net(size);
  const RandomBracket bracket(1, side, side);
  const auto ops = variant.make_ops(bench.pool);
  const double pixels = double(side) * side;
  std::vector<float> result(3 * side * side);
  const Composed composed(net.config, net.parameters, 3);  // made once a session, as in the product
  const auto pass = [&] {
    check(forward(net.config, net.parameters, *ops, bracket.input, {result.data(), 1, side, side, 3}, nullptr, nullptr,
                  nullptr, &composed));
  };
  const int64_t memory = bench.memory_of(pass);
  Row row = bench.against_peaks(variant, forward_flops(size) * pixels, 0, pass);
  row.memory_bytes = memory;
  return row;
}

Row growth(Bench& bench, const Variant& variant, double megapixels) {
  // Width to height as 3 to 2, multiples of 8.
  const int height = static_cast<int>(std::sqrt(megapixels * 1e6 / 1.5) / 8) * 8, width = height * 3 / 2 / 8 * 8;
  RandomNetwork net;
  const auto ops = variant.make_ops(bench.pool);
  const bool whole = int64_t{height} * width * kBytesPerPixel < available_memory() / 2;
  const int rows = whole ? height : std::min(kTile, height), columns = whole ? width : std::min(kTile, width);
  const RandomBracket tile(1, rows, columns);
  std::vector<float> result(int64_t{3} * rows * columns);
  const Tensor out{result.data(), 1, rows, columns, 3};
  const auto steps = [](int length, int size) {
    return size >= length ? 1 : (length - kOverlap + size - kOverlap - 1) / (size - kOverlap);
  };
  const int tiles = steps(height, rows) * steps(width, columns);
  Row row;
  const Composed composed(net.config, net.parameters, 3);
  const auto pass = [&](const ForwardInput& input) {
    check(forward(net.config, net.parameters, *ops, input, out, nullptr, nullptr, nullptr, &composed));
  };
  const auto work = [&] {
    SharedSums sums;
    ForwardInput input = tile.input;
    if (tiles > 1) {
      input.sums = &sums;
      pass(input);
      sums.recording = false;
    }
    for (int i = 0; i < tiles; ++i) pass(input);
  };
  row.memory_bytes = bench.memory_of([&] { row.seconds = seconds_of(work); });
  row.flops = kForwardFlops * double(height) * width;  // the picture's: what overlaps is not counted
  return row;
}

}  // namespace

void add_network(Bench& bench) {
  for (const NetworkSize& size : {kPublished, kSmall})
    for (int side : {256, 512})
      for (const Variant& variant : variants())
        bench.add(
            std::string(size.name) + "/" + std::to_string(side) + "/" + variant.name,
            [&bench, variant, size, side] { return network(bench, variant, size, bench.options.quick ? 64 : side); });
  for (const Variant& variant : variants())
    for (double megapixels : {0.25, 1.0, 4.0, 12.0, 24.0, 45.0}) {
      char name[64];
      std::snprintf(name, sizeof name, "growth/core/%gMP/%s", megapixels, variant.name.c_str());
      bench.add(
          name,
          [&bench, variant, megapixels] { return growth(bench, variant, bench.options.quick ? 0.01 : megapixels); },
          megapixels > 4);
    }
}

}  // namespace smhdr::bench
