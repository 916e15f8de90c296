#!/usr/bin/env bash
# Trains the shipped smhdr on, on this machine's GPU, from what carry-training.sh packed: needs no Node and no network.
#   native/bench/train-gpu.sh [MINUTES] [FOLDER]    MINUTES (8) of training; results go to FOLDER ($OUT, or build/train-gpu)
# A run goes on from the files that its last FOLDER left, put into build/gpu-carry/run. Left in FOLDER, none above
# 16 MiB: model.safetensors, checkpoint.00, .01 ... (`cat` makes one checkpoint of them), metrics.jsonl, config.json, log.txt.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
minutes=${1:-8}
target=${2:-${OUT:-build/train-gpu}}
mkdir -p "$target"
out=$(cd "$target" && pwd)
carry=build/gpu-carry
log=$out/log.txt
say() { printf '%s\n' "$*" | tee -a "$log"; }

if [ ! -f $carry/package.tar.xz ] || [ ! -f $carry/node.xz ]; then
  say "There is no $carry: make it with native/bench/carry-training.sh IMAGES on a machine with Node, and carry it here."
  exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
xz -dc $carry/node.xz >"$work/node" && chmod +x "$work/node" && tar -C "$work" -xJf $carry/package.tar.xz || exit 1
smhdr() { "$work/node" "$work/package/dist/cli/smhdr.js" "$@"; }
smhdr devices 2>&1 | tee -a "$log"
if ! smhdr devices 2>/dev/null | grep '^cuda:' | grep -qv 'cannot be used'; then
  say "There is no GPU on this machine that can train: see above."
  exit 3
fi

run=$work/run
begin=(--config $carry/train-gpu.json --model smhdr)
if ls "$carry"/run/checkpoint.0? >/dev/null 2>&1; then
  mkdir -p "$run"
  cp "$carry"/run/*.json* "$run/"
  cat "$carry"/run/checkpoint.0? >"$run/checkpoint.safetensors"
  begin=(--resume)
fi
say "training for $minutes minutes: ${begin[*]}"
# Ctrl-C writes a checkpoint.
timeout --signal=INT --kill-after=30 "$((minutes * 60))" "$work/node" "$work/package/dist/cli/smhdr.js" train --device cuda \
  --synthesize $carry/sources/* -o "$run" "${begin[@]}" --json >>"$log" 2>&1
status=$?
say "ended with $status (130 or 124: stopped by the clock, as meant)"
cp "$run"/config.json "$run"/metrics.jsonl "$run"/model.safetensors "$out/" 2>/dev/null
[ -f "$run/checkpoint.safetensors" ] && split -b 15M -d -a 2 "$run/checkpoint.safetensors" "$out/checkpoint."
# The log's progress lines are many.
grep -v '"event":"progress"' "$log" >"$log.short"
mv "$log.short" "$log"
grep '"event":"step"' "$out/metrics.jsonl" 2>/dev/null | tail -3 | tee -a "$log"
ls -la "$out"
case $status in 0 | 124 | 130) exit 0 ;; *) exit 1 ;; esac
