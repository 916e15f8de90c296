// The test harness: CHECK counts, finish() reports and gives the exit code. Small on purpose, no dependency.
#pragma once

#include <cmath>
#include <cstdio>

namespace smhdr::test {

inline int passed = 0, failed = 0, skipped = 0;

inline bool check(bool condition, const char* expression, const char* file, int line) {
  condition ? ++passed : ++failed;
  if (!condition) std::printf("FAILED %s:%d: %s\n", file, line, expression);
  return condition;
}

inline int finish() {
  std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return failed == 0 ? 0 : 1;
}

}  // namespace smhdr::test

#define CHECK(condition) ::smhdr::test::check((condition), #condition, __FILE__, __LINE__)
