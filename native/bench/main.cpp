// smhdr_bench: the native core against this machine's peaks, without Node.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench.h"

using namespace smhdr::bench;

namespace {

constexpr const char* kHelp =
    "smhdr_bench [--filter TEXT | --row NAME ...] [--json] [--threads N] [--quick] [--full] [--list]\n"
    "  --filter TEXT   only the rows whose name contains it\n"
    "  --row NAME      this row, though it be slow; may be repeated\n"
    "  --json          one JSON object a row\n"
    "  --threads N     default: one per processor\n"
    "  --quick         small pictures, one round: does everything run?\n"
    "  --full          also the slow rows, which take many minutes\n"
    "  --list          the names of the rows\n"
    "smhdr_bench --race training ...   a contender of `smhdr bench`\n";

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2 && std::strcmp(argv[1], "--race") == 0 && std::strcmp(argv[2], "training") == 0)
    return race_training(argc - 3, argv + 3);
  Options options;
  bool list = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const bool has_value = i + 1 < argc;
    if (option == "--json") {
      options.json = true;
    } else if (option == "--quick") {
      options.quick = true;
    } else if (option == "--full") {
      options.full = true;
    } else if (option == "--list") {
      list = true;
    } else if (option == "--filter" && has_value) {
      options.filter = argv[++i];
    } else if (option == "--row" && has_value) {
      options.rows.push_back(argv[++i]);
    } else if (option == "--threads" && has_value && std::atoi(argv[i + 1]) > 0) {
      options.threads = std::atoi(argv[++i]);
    } else {
      const bool help = option == "--help";
      std::fprintf(help ? stdout : stderr, "%s", kHelp);
      return help ? 0 : 2;
    }
  }
  Bench bench(options);
  add_peaks(bench);
  add_network(bench);
  add_kernels(bench);
  add_training(bench);
  add_radiance_merge(bench);
  add_motion(bench);
  add_sampling(bench);
  add_drift(bench);
  add_colour_noise(bench);
  return list ? bench.list() : bench.run();
}
