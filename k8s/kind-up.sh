#!/usr/bin/env bash
# A kind cluster with the image in it: `make kind-up`. With the argument `down`: deletes it.
# Prints only the line that sets KUBECONFIG on standard output, so that eval can take it; all else goes to standard error.
set -euo pipefail
exec 3>&1 1>&2
cd "$(dirname "$0")/.."

name=headrace
image=${IMAGE:-headrace:dev}
docker=${DOCKER:-docker}
kubeconfig=$PWD/build/kind.kubeconfig

die() { echo "kind-up: $*"; exit 1; }
there() { kind get clusters 2>/dev/null | grep -qx "$name"; }

command -v kind >/dev/null || die "kind is not on PATH: see https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
command -v "$docker" >/dev/null || die "$docker is not on PATH: kind runs its node in it"
"$docker" info >/dev/null 2>&1 || die "no Docker engine answers: start it, or look at \`$docker info\`"

if [ "${1:-}" = down ]; then
  kind delete cluster --name "$name" --kubeconfig "$kubeconfig"
  exit
fi

mkdir -p build
if there; then
  kind export kubeconfig --name "$name" --kubeconfig "$kubeconfig"
else
  kind create cluster --name "$name" --config k8s/kind.yaml --kubeconfig "$kubeconfig" --wait 180s
fi
make image IMAGE="$image" DOCKER="$docker"
archive=$(mktemp "${TMPDIR:-/tmp}/headrace-image.XXXXXX")
trap 'rm -f "$archive"' EXIT
"$docker" save --output "$archive" "$image"
kind load image-archive "$archive" --name "$name"
echo "export KUBECONFIG=$kubeconfig" >&3
