#!/usr/bin/env bash
# Puts Fashion-MNIST's four IDX files into a folder, from Debian's package of them.
# Needs apt-get and dpkg, no root.
set -euo pipefail
target=${1:?usage: fashion_mnist.sh FOLDER}
name=dataset-fashion-mnist
installed=/usr/share/datasets/fashion-mnist
[ -d "$target" ] && exit 0
[ -d "$installed" ] && exec ln -sfn "$installed" "$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -q "$name"
dpkg -x "$name"_*.deb unpacked
cd - >/dev/null
mkdir -p "$(dirname "$target")"
mv "$work"/unpacked/usr/share/datasets/fashion-mnist "$target"
