#!/usr/bin/env bash
# Prints the Secrets that k8s/headrace.yaml needs, with random passwords and an API key:
#
#   k8s/secrets.sh [NAMESPACE] | kubectl apply -f -
#
# Needs kubectl, with a cluster that may be asked for Secrets, and openssl.
# Prints nothing when one of them is there already: new passwords would lock everybody out of the brokers that have the old ones.
set -euo pipefail
namespace=${1:-headrace}

die() { echo "secrets: $*" >&2; exit 1; }

missing=
for program in kubectl openssl; do command -v "$program" >/dev/null || missing+=" $program"; done
[ -z "$missing" ] || die "not found on PATH:$missing. Install it: kubectl asks the cluster for Secrets that are there, openssl makes the passwords"
for name in headrace-rabbitmq headrace-redis headrace-api-keys headrace-api-key; do
  found=$(kubectl --namespace "$namespace" get secret "$name" --ignore-not-found --output name) || die "the cluster cannot be asked"
  [ -z "$found" ] || die "$found is in namespace $namespace already. To begin anew, delete it, and the volumes with its password"
done

rabbitmq=$(openssl rand -hex 24)
redis=$(openssl rand -hex 24)
key=hr_$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=\n')
digest=$(printf %s "$key" | openssl dgst -sha256 -r)

secret() { # secret NAME, with its data on standard input
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ntype: Opaque\nstringData:\n' "$1" "$namespace"
  sed 's/^/  /'
}

secret headrace-rabbitmq <<YAML
url: amqp://headrace:$rabbitmq@headrace-rabbitmq:5672/
rabbitmq.conf: |
  default_user = headrace
  default_pass = $rabbitmq
YAML
secret headrace-redis <<YAML
url: redis://:$redis@headrace-redis:6379/0
redis.conf: |
  requirepass $redis
YAML
# What the gateway knows: the key's hash. As \`headrace key new\` makes it.
secret headrace-api-keys <<YAML
keys: |
  dev submit,read,operate sha256:${digest%% *}
YAML
# The key itself, for whoever tries this out; no pod reads it.
secret headrace-api-key <<YAML
key: $key
YAML
