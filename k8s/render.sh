#!/usr/bin/env bash
# Prints k8s/headrace.yaml: the chart, rendered with k8s/values.yaml. HELM names another helm than that on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
helm=${HELM:-helm}
command -v "$helm" >/dev/null || { echo "render: helm is not on PATH, and HELM names none" >&2; exit 1; }

echo "# The chart in helm/headrace, rendered with k8s/values.yaml by \`make docs\`. Do not edit it."
# A version of its own choice, so that what is rendered does not depend on who renders it. Hooks are Helm's, as are the two labels.
"$helm" template headrace helm/headrace --namespace headrace --values k8s/values.yaml --kube-version 1.30.0 --no-hooks |
  sed -e '/^ *helm.sh\/chart: /d' -e '/^ *app.kubernetes.io\/managed-by: Helm$/d'
