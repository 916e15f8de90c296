#!/usr/bin/env bash
# Trains what models/smhdr-s.safetensors last went through (parts 8 to 11 of its card), with today's alignment and kernels: alike, not to the
# bit. Twice with the same code, on the same kind of processor, it gives the same bits:
#   npm run build && scripts/train-smhdr-s.sh DATA OUT
# DATA holds hdri/*.hdr and exr/*.exr; the images of the public test set among them are left out. OUT/smhdr-s.safetensors is the
# model. Begun again, it goes on where it was stopped. What it begins with is in the repository's history.
set -euo pipefail
data=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."
smhdr() { node dist/cli/smhdr.js "$@"; }

test='leadenhall_market|peppermint_powerplant|st_peters_square_night|phalzer_forest_01|potsdamer_platz|lebombo|Desk|GoldenGate|CandleGlass'
sky='aristea_wreck_puresky|pmndrs_sky'
mapfile -t all < <(ls "$data"/hdri/*.hdr "$data"/exr/*.exr)
mapfile -t sources < <(printf '%s\n' "${all[@]}" | grep -vE "/($test|$sky)(_1k)?\.")
mapfile -t tests < <(printf '%s\n' "${all[@]}" | grep -E "/($test)(_1k)?\.")

# Brackets of the test images, looked at after some epochs; nothing is chosen by them.
validation() {
  local exposures=$1 folder=$out/validation-$1
  shift
  [ -e "$folder/done" ] && return
  rm -rf "$folder"
  smhdr synthesize "${tests[@]}" -o "$folder" --count 12 --seed 77 --split Test --size 256x256 --exposures "$exposures" --spacing "$@"
  touch "$folder/done"
}

# part NAME COMMAND...: a run of its own folder, once.
part() {
  local run=$out/$1
  shift
  [ -e "$run/done" ] && return
  if [ -e "$run/checkpoint.safetensors" ]; then smhdr "$@" --output "$run" --resume; else smhdr "$@" --output "$run"; fi
  touch "$run/done"
}

start=$out/start.safetensors
git show d9b6b74:models/smhdr-s.safetensors > "$start"
validation 3 2 3
model=$start
for number in 8 9 10; do
  # A run that was begun knows its weights.
  if [ -e "$out/$number/checkpoint.safetensors" ]; then from=(); else from=(--model "$model"); fi
  part $number train "${from[@]}" --config models/smhdr-s.training/$number.json --data "$out/validation-3" --synthesize "${sources[@]}"
  model=$out/$number/model.safetensors
done
model=$out/average.safetensors
node scripts/average-models.mjs "$out/9/model.safetensors" "$out/10/model.safetensors" "$model"

for exposures in 5 2; do
  case $exposures in 2) spacing=(2 3) ;; *) spacing=(1.5 2) ;; esac
  validation $exposures "${spacing[@]}"
  part 11-$exposures finetune --model "$model" --exposures $exposures --config models/smhdr-s.training/11.json \
    --data "$out/validation-$exposures" --synthesize "${sources[@]}"
  model=$out/11-$exposures/model.safetensors
done
cp "$model" "$out/smhdr-s.safetensors"
