#!/bin/sh
# What every CUDA kernel takes, as ptxas said when it was built (cmake/keep-resources.cmake), a line each:
#   native/bench/list-kernels.sh [BUILD FOLDER]
# Registers for each architecture; "+24" are the bytes that did not fit and spill; static shared memory, the most of all.
build=${1:-build/Release}
files=$(find "$build" -name '*.cu.o*.txt' 2>/dev/null)
if [ -z "$files" ]; then
  echo "There are no CUDA kernels in $build: it was built without nvcc." >&2
  exit 1
fi
# shellcheck disable=SC2086
cat $files | awk '
  /Compiling entry function/ { split($0, part, "\x27"); name = part[2]; arch = part[4] }
  /bytes stack frame/ { spills = $5 }
  /Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/)
    used = substr($0, RSTART + 5, RLENGTH - 5)
    bytes = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH - 11) + 0 : 0
    print name, arch, used, spills, bytes
  }' | { c++filt 2>/dev/null || cat; } | sed -e 's/smhdr::cuda::gpu:://g' -e 's/(anonymous namespace):://g' |
  awk '
  { # The name may have blanks: the last four fields are ours.
    arch = $(NF - 3); used = $(NF - 2) ($(NF - 1) > 0 ? "+" $(NF - 1) : ""); bytes = $NF
    name = $0
    sub(/ [^ ]+ [^ ]+ [^ ]+ [^ ]+$/, "", name)
    sub(/^void /, "", name)
    sub(/\(.*$/, "", name)
    if (!(arch in archs)) { archs[arch]; order[++count] = arch }
    if (!(name in shared)) names[++kernels] = name
    if (bytes > shared[name]) shared[name] = bytes
    table[name, arch] = used
  }
  END {
    for (i = 1; i <= count; ++i)
      for (j = i + 1; j <= count; ++j)
        if (substr(order[j], 4) + 0 < substr(order[i], 4) + 0) { t = order[i]; order[i] = order[j]; order[j] = t }
    for (i = 1; i <= count; ++i) printf "%-8s", order[i]
    print "shared  kernel"
    for (k = 1; k <= kernels; ++k) {
      for (i = 1; i <= count; ++i) printf "%-8s", ((names[k], order[i]) in table) ? table[names[k], order[i]] : "-"
      printf "%-7d %s\n", shared[names[k]], names[k]
    }
  }' | { read -r head; echo "$head"; sort -k1,1nr; }
