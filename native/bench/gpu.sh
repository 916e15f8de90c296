#!/usr/bin/env bash
# Proves and times the CUDA kernels on this machine's GPU, in one call of under ten minutes: needs CMake 3.22, nvcc 12 or
# newer and a C++20 compiler; no Node, no network.
#   native/bench/gpu.sh [FOLDER]     results go to FOLDER ($OUT, or build/gpu-result): table.txt (short) and log.txt (all)
# Reference numbers are compared where they lie in $SMHDR_GOLDEN, shared/golden, ../shared/golden or test/golden; PyTorch is
# timed where python3 has it. Without a GPU it builds, says that there is none, and ends with 3.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$(mkdir -p "${1:-${OUT:-build/gpu-result}}" && cd "${1:-${OUT:-build/gpu-result}}" && pwd)
build=build/gpu
table=$out/table.txt
log=$out/log.txt
: >"$table"
: >"$log"
began=$SECONDS
failures=0

say() { printf '%s\n' "$*" | tee -a "$table" "$log"; }
# step NAME SECONDS COMMAND...: runs it with a time limit, all it prints into the log, and says how it went.
step() {
  local name=$1 limit=$2 start=$SECONDS status
  shift 2
  printf '\n===== %s: %s\n' "$name" "$*" >>"$log"
  timeout --kill-after=10 "$limit" "$@" >>"$log" 2>&1
  status=$?
  case $status in
    0) say "ok      $name ($((SECONDS - start)) s)" ;;
    124 | 137) say "TIMEOUT $name (after $limit s)" ;;
    *) say "FAILED  $name (exit $status, $((SECONDS - start)) s)" ;;
  esac
  [ $status -eq 0 ] || failures=$((failures + 1))
  return $status
}
finish() {
  say "$((SECONDS - began)) s in all, $failures steps failed; everything printed is in log.txt"
  exit "$1"
}

say "smhdr on a GPU, $(date -u '+%Y-%m-%d %H:%M') UTC"
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
if [ -z "$nvcc" ]; then
  say "There is no nvcc on this machine: nothing was built."
  finish 3
fi
export CUDACXX=$nvcc PATH="$(dirname "$nvcc"):$PATH"
say "nvcc $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'), $(cmake --version | head -1), $(c++ --version | head -1)"
device=$(nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version --format=csv,noheader 2>/dev/null | head -1)
capability=$(printf '%s' "$device" | cut -d, -f2 | tr -d '. ')
say "device: ${device:-none}"

generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
step "configure" 60 cmake -S . -B $build "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DSMHDR_CUDA=ON \
  "-DSMHDR_CUDA_ARCHITECTURES=${capability:-90}-real" || finish 1
step "build" 420 nice cmake --build $build --parallel "$(nproc)" || finish 1
native/bench/list-kernels.sh $build >"$out/kernels.txt" || finish 1
say "kernels: $(($(wc -l <"$out/kernels.txt") - 1)), $(grep -c '+' "$out/kernels.txt") of them spill (kernels.txt)"

if [ -z "$device" ]; then
  say "There is no GPU on this machine (nvidia-smi lists none): nothing was run on one."
  finish 3
fi

for folder in "${SMHDR_GOLDEN:-}" shared/golden ../shared/golden test/golden; do
  if [ -n "$folder" ] && [ -d "$folder" ]; then
    export SMHDR_GOLDEN=$PWD/$folder
    case $folder in /*) export SMHDR_GOLDEN=$folder ;; esac
    break
  fi
done
say "reference numbers: ${SMHDR_GOLDEN:-none}"
for test in device_test ops_test ops_backward_test training_ops_test network_on_device_test network_test golden_test golden_gradients_test any_inputs_test merge_test \
  perceptual_test trainer_test; do
  step "$test" 90 $build/$test
  grep -E '^[0-9]+ passed' "$log" | tail -1 | sed 's/^/          /' | tee -a "$table"
done

# The whole forward pass, a training step and every kernel, at sizes that a checker can bear.
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    step "compute-sanitizer $tool" 60 compute-sanitizer --tool $tool --error-exitcode 9 $build/smhdr_gpu_bench --quick
  done
else
  say "compute-sanitizer is not installed: nothing was checked with it"
fi

if step "timing" 120 $build/smhdr_gpu_bench; then
  sed -n '/^===== timing/,$p' "$log" | grep -v '^=====' | grep -v '^$' | tee -a "$table"
fi
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  step "PyTorch, 1504 x 1000" 150 python3 bench/pytorch/bench_infer.py smhdr 1000 1504
  sed -n '/^===== PyTorch/,$p' "$log" | grep -E ' ms, peak' | tee -a "$table"
else
  say "python3 with torch and a GPU is not here: PyTorch was not timed"
fi
finish $((failures > 0))
