#include "bench.h"

#include <cmath>
#include <cstdio>
#include <fstream>

#if !defined(_WIN32)
#include <sys/resource.h>
#endif

namespace smhdr::bench {

std::vector<Variant> variants() {
  std::vector<Variant> all = {{"fp32", [](ThreadPool& pool) { return make_cpu_ops(pool); },
                               [](MachineMeter& meter) { return meter.multiply_adds(); }}};
  if (cpu_has_bf16() && cpu_isa() == CpuIsa::avx512)
    all.push_back({"bf16", [](ThreadPool& pool) { return make_cpu_ops(pool, cpu_isa(), Precision::bf16); },
                   [](MachineMeter& meter) { return meter.bf16_products(); }});
  return all;
}

int Bench::list() const {
  for (const Case& one : cases_) std::printf("%s%s\n", one.name.c_str(), one.slow ? " (slow)" : "");
  return 0;
}

int Bench::run() {
  bool any = false;
  if (options.quick) std::fprintf(stderr, "smhdr_bench --quick: small pictures; no figure is its row's.\n");
  for (const Case& one : cases_) {
    const bool named = std::find(options.rows.begin(), options.rows.end(), one.name) != options.rows.end();
    if (!named && (!options.rows.empty() || one.name.find(options.filter) == std::string::npos)) continue;
    any = true;
    if (one.slow && !options.full && !named) continue;
    print(one.name, one.measure());
  }
  if (any) return 0;
  std::fprintf(stderr, "smhdr_bench: no row is left; the rows are:\n");
  for (const Case& one : cases_) std::fprintf(stderr, "  %s\n", one.name.c_str());
  return 2;
}

Row Bench::against_peaks(const Variant& variant, double flops, double bytes, const std::function<void()>& work) {
  const auto samples = interleaved(rounds(), {[&] { return variant.peak(meter).rate(); },
                                              [&] { return meter.triad().rate(); }, [&] { return seconds_of(work); }});
  Row row;
  row.seconds = median(samples[2]);
  row.flops = flops;
  row.bytes = bytes;
  // The bound is whichever peak would take longer; what is reached of it is the fraction.
  row.bound = flops / median(samples[0]) > bytes / median(samples[1]) ? "arithmetic" : "memory";
  std::vector<double> fractions;
  for (int i = 0; i < rounds(); ++i)
    fractions.push_back(std::max(flops / samples[0][i], bytes / samples[1][i]) / samples[2][i]);
  row.fraction = median(fractions);
  return row;
}

void Bench::print(const std::string& name, const Row& row) const {
  const double gflops = row.flops / row.seconds * 1e-9, gigabytes = row.bytes / row.seconds * 1e-9;
  if (!options.json) {
    std::printf("%-38s", name.c_str());
    if (row.seconds > 0) std::printf(" %9.4f s", row.seconds);
    if (gflops > 0) std::printf(" %7.1f GFLOP/s", gflops);
    if (gigabytes > 0) std::printf(" %6.1f GB/s", gigabytes);
    if (row.fraction > 0) std::printf(" %5.1f %% of the %s peak", 100 * row.fraction, row.bound);
    if (row.copy_seconds > 0) std::printf(", a copy %.4f s", row.copy_seconds);
    if (row.memory_bytes > 0) std::printf(", %.0f MiB", double(row.memory_bytes) / (1 << 20));
    if (row.tape_bytes_per_pixel > 0)
      std::printf(", tape %lld bytes a pixel", static_cast<long long>(row.tape_bytes_per_pixel));
    std::printf("\n");
  } else {
    std::printf("{\"name\":\"%s\",\"seconds\":%.6g,\"threads\":%d", name.c_str(), row.seconds, pool.threads());
    if (gflops > 0) std::printf(",\"gflops\":%.4g", gflops);
    if (gigabytes > 0) std::printf(",\"gigabytesPerSecond\":%.4g", gigabytes);
    if (row.fraction > 0) std::printf(",\"fractionOfPeak\":%.4g,\"bound\":\"%s\"", row.fraction, row.bound);
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
      row.seconds = median(interleaved(bench.rounds(), {[&] {
                                         const Sample one = sample(bench.meter);
                                         amount = one.amount;
                                         return one.seconds;
                                       }})[0]);
      (computing ? row.flops : row.bytes) = amount;
      return row;
    });
  };
  for (CpuIsa isa : {CpuIsa::generic, CpuIsa::avx2, CpuIsa::avx512})
    if (cpu_has(isa))
      add(std::string("fp32/") + cpu_isa_name(isa), true, [isa](MachineMeter& m) { return m.multiply_adds(isa); });
  if (cpu_has_bf16()) add("bf16/avx512", true, [](MachineMeter& m) { return m.bf16_products(false); });
  if (cpu_has_matrix_unit()) add("bf16/amx", true, [](MachineMeter& m) { return m.bf16_products(true); });
  add("triad", false, [](MachineMeter& m) { return m.triad(); });
  add("copy", false, [](MachineMeter& m) { return m.copy(int64_t{1} << 29); });
}

}  // namespace smhdr::bench
