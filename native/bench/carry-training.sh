#!/usr/bin/env bash
# Packs what native/bench/train-gpu.sh needs on a machine with a GPU but neither Node nor network, into build/gpu-carry:
# this machine's node, the built package with its addon (CUDA inside), and HDR images to train on.
#   native/bench/carry-training.sh IMAGE.exr|.hdr ...        (after npm run build; nvcc is needed)
# SMHDR_CUDA_ARCHITECTURES (90-real) is the device's compute capability. Carry build/gpu-carry there; 64 MiB is a usual limit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -gt 0 ] || { echo "Expected HDR images to train on." >&2; exit 2; }
[ -f dist/cli/smhdr.js ] || { echo "dist is not built: npm run build" >&2; exit 2; }
carry=build/gpu-carry
rm -rf "$carry"
mkdir -p "$carry/package/build/Release" "$carry/sources"

# An addon for that device alone is small.
folder=$PWD/build/gpu-addon
node -e 'import("./scripts/build-addon.mjs").then(({ buildAddon }) => buildAddon({ folder: process.argv[1], cmake: {
  SMHDR_CUDA: "ON", SMHDR_CUDA_ARCHITECTURES: process.argv[2] } }))' "$folder" "${SMHDR_CUDA_ARCHITECTURES:-90-real}"
cp "$folder/smhdr.node" "$carry/package/build/Release/"
strip --strip-unneeded "$carry/package/build/Release/smhdr.node"
cp -r dist package.json models "$carry/package/"
rm -f "$carry/package/dist/.tsbuildinfo"
# What the package depends on; of three only the EXR reader and what it imports.
npm ls --omit=dev --omit=optional --all --parseable 2>/dev/null | tail -n +2 | sort -u | while read -r module; do
  relative=${module#"$PWD"/}
  mkdir -p "$carry/package/$(dirname "$relative")"
  cp -r "$module" "$carry/package/$(dirname "$relative")/"
done
rm -rf "$carry"/package/node_modules/{three/src,three/examples/{fonts,jsm/libs},cmake-js,.bin}
find "$carry/package" \( -name '*.map' -o -name '*.md' -o -name '*.d.ts' \) -type f -delete
cp native/bench/train-gpu.json "$carry/"
cp "$@" "$carry/sources/"
tar -C "$carry" -c package | xz -T0 -6 >"$carry/package.tar.xz"
rm -rf "$carry/package"
cp "$(node -p process.execPath)" "$carry/node"
strip --strip-unneeded "$carry/node"
xz -T0 -6 "$carry/node"
du -sh "$carry"
