#include "bench.h"

#include <cmath>
#include <cstdio>
#include <fstream>

#if !defined(_WIN32)
#include <sys/resource.h>
#endif

#if __has_include("smhdr/precision.h")
#include "smhdr/precision.h"
#define SMHDR_BENCH_BF16
#endif

namespace smhdr::bench {

std::vector<Variant> variants() {
  std::vector<Variant> all = {{"fp32", [](ThreadPool& pool) { return make_cpu_ops(pool); },
                               [](MachineMeter& meter) { return meter.multiply_adds(); }}};
#if defined(SMHDR_BENCH_BF16)
  if (cpu_has_bf16() && cpu_isa() == CpuIsa::avx512)
    all.push_back({"bf16", [](ThreadPool& pool) { return make_cpu_ops(pool, cpu_isa(), Precision::bf16); },
                   [](MachineMeter& meter) { return meter.bf16_products(); }});
#endif
  return all;
}

int Bench::list() const {
  for (const Case& one : cases_) std::printf("%s%s\n", one.name.c_str(), one.slow ? " (with --full)" : "");
  return 0;
}

int Bench::run() {
  bool any = false;
  if (options.quick) std::fprintf(stderr, "smhdr_bench --quick: small pictures; no figure is its row's.\n");
  for (const Case& one : cases_) {
    if (one.name.find(options.filter) == std::string::npos) continue;
    any = true;
    if (one.slow && !options.full && one.name != options.filter) continue;
    print(one.name, one.measure());
  }
  if (any) return 0;
  std::fprintf(stderr, "smhdr_bench: --filter %s leaves no row; the rows are:\n", options.filter.c_str());
  for (const Case& one : cases_) std::fprintf(stderr, "  %s\n", one.name.c_str());
  return 2;
}

Row Bench::against_peaks(const Variant& variant, double flops, double bytes, const std::function<void()>& work) {
  const auto medians =
      interleaved_medians(rounds(), {[&] { return variant.peak(meter).rate(); }, [&] { return meter.triad().rate(); },
                                     [&] { return seconds_of(work); }});
  Row row;
  row.seconds = medians[2];
  row.flops = flops;
  row.bytes = bytes;
  row.peak_flops = medians[0];
  row.peak_bytes = medians[1];
  return row;
}

void Bench::print(const std::string& name, const Row& row) const {
  const double gflops = row.flops / row.seconds * 1e-9, gigabytes = row.bytes / row.seconds * 1e-9;
  // The bound is whichever peak would take longer; what is reached of it is the fraction.
  const double computing = row.peak_flops > 0 ? row.flops / row.peak_flops : 0,
               moving = row.peak_bytes > 0 ? row.bytes / row.peak_bytes : 0;
  const double fraction = std::max(computing, moving) / row.seconds;
  const char* bound = fraction == 0 ? "" : computing > moving ? "arithmetic" : "memory";
  if (!options.json) {
    std::printf("%-38s", name.c_str());
    if (row.seconds > 0) std::printf(" %9.4f s", row.seconds);
    if (gflops > 0) std::printf(" %7.1f GFLOP/s", gflops);
    if (gigabytes > 0) std::printf(" %6.1f GB/s", gigabytes);
    if (fraction > 0) std::printf(" %5.1f %% of the %s peak", 100 * fraction, bound);
    if (row.copy_seconds > 0) std::printf(", a copy %.4f s", row.copy_seconds);
    if (row.memory_bytes > 0) std::printf(", %.0f MiB", double(row.memory_bytes) / (1 << 20));
    if (row.tape_bytes_per_pixel > 0)
      std::printf(", tape %lld bytes a pixel", static_cast<long long>(row.tape_bytes_per_pixel));
    std::printf("\n");
  } else {
    std::printf("{\"name\":\"%s\",\"seconds\":%.6g,\"threads\":%d", name.c_str(), row.seconds, pool.threads());
    if (gflops > 0) std::printf(",\"gflops\":%.4g", gflops);
    if (gigabytes > 0) std::printf(",\"gigabytesPerSecond\":%.4g", gigabytes);
    if (fraction > 0) std::printf(",\"fractionOfPeak\":%.4g,\"bound\":\"%s\"", fraction, bound);
    if (row.memory_bytes > 0) std::printf(",\"memoryBytes\":%lld", static_cast<long long>(row.memory_bytes));
    if (row.tape_bytes_per_pixel > 0)
      std::printf(",\"tapeBytesPerPixel\":%lld", static_cast<long long>(row.tape_bytes_per_pixel));
    if (options.quick) std::printf(",\"quick\":true");
    std::printf(",\"peers\":{");
    if (row.copy_seconds > 0) std::printf("\"copy\":%.6g", row.copy_seconds);
    std::printf("}}\n");
  }
  std::fflush(stdout);
}

int64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
#if !defined(_WIN32)
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  return usage.ru_maxrss;
#else
  return int64_t{usage.ru_maxrss} * 1024;
#endif
#else
  return 0;
#endif
}

int64_t Bench::memory_of(const std::function<void()>& work) {
  meter.release();
  std::ofstream("/proc/self/clear_refs") << 5;  // forgets the peak so far, on Linux; elsewhere it stays the process's
  work();
  return peak_memory();
}

void add_peaks(Bench& bench) {
  using Sample = MachineMeter::Sample;
  const auto add = [&bench](const std::string& name, bool computing, std::function<Sample(MachineMeter&)> sample) {
    bench.add("peak/" + name, [&bench, computing, sample] {
      double amount = 0;
      Row row;
      row.seconds = interleaved_medians(bench.rounds(), {[&] {
                                          const Sample one = sample(bench.meter);
                                          amount = one.amount;
                                          return one.seconds;
                                        }})[0];
      (computing ? row.flops : row.bytes) = amount;
      return row;
    });
  };
  for (CpuIsa isa : {CpuIsa::generic, CpuIsa::avx2, CpuIsa::avx512})
    if (cpu_has(isa))
      add(std::string("fp32/") + cpu_isa_name(isa), true, [isa](MachineMeter& m) { return m.multiply_adds(isa); });
  if (bench.meter.bf16_products().amount > 0)
    add("bf16/avx512", true, [](MachineMeter& m) { return m.bf16_products(); });
  add("triad", false, [](MachineMeter& m) { return m.triad(); });
  add("copy", false, [](MachineMeter& m) { return m.copy(int64_t{1} << 29); });
}

}  // namespace smhdr::bench
