#!/usr/bin/env bash
# Trains what models/smhdr-s.safetensors last went through (parts 8 to 13 of its card), with today's alignment and kernels: alike, not to the
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
# trains NUMBER WEIGHTS: a part of the whole network.
trains() {
  local from=(--model "$2")
  # A run that was begun knows its weights.
  if [ -e "$out/$1/checkpoint.safetensors" ]; then from=(); fi
  part $1 train "${from[@]}" --config models/smhdr-s.training/$1.json --data "$out/validation-3" --synthesize "${sources[@]}"
}
trains 8 "$start"
trains 9 "$out/8/model.safetensors"
trains 10 "$out/9/model.safetensors"
model=$out/average.safetensors
node scripts/average-models.mjs "$out/9/model.safetensors" "$out/10/model.safetensors" "$model"
trains 11 "$model"
trains 12 "$model"
node scripts/average-models.mjs "$model" "$out/11/model.safetensors" "$out/average-11.safetensors" 0.4
node scripts/average-models.mjs "$out/average-11.safetensors" "$out/12/model.safetensors" "$out/average-12.safetensors" 0.4

# extends NAME WEIGHTS: extractors for five and for two exposures; $model is the network with both.
extends() {
  model=$2
  for exposures in 5 2; do
    case $exposures in 2) spacing=(2 3) ;; *) spacing=(1.5 2) ;; esac
    validation $exposures "${spacing[@]}"
    part $1-$exposures finetune --model "$model" --exposures $exposures --config models/smhdr-s.training/13.json \
      --data "$out/validation-$exposures" --synthesize "${sources[@]}"
    model=$out/$1-$exposures/model.safetensors
  done
}
# Twice, from the weights before and after, and the mean of both.
extends 13-before "$model"
before=$model
extends 13 "$out/average-12.safetensors"
node scripts/average-models.mjs "$before" "$model" "$out/average-13.safetensors"
node scripts/with-extractors.mjs "$out/average-12.safetensors" "$out/average-13.safetensors" "$out/smhdr-s.safetensors"
