{{/* The chart makes an API key where it also makes the broker: a first try needs no preparation. */}}
{{- define "headrace.makesKey" -}}
{{- if and (eq .Values.rabbitmq.mode "dev") (not .Values.gateway.apiKeys.existingSecret) (not .Values.gateway.apiKeys.open) }}true{{ end }}
{{- end }}

{{/* Whether it makes the broker's user and password. */}}
{{- define "headrace.makesUser" -}}
{{- with .Values.rabbitmq }}{{ if and (ne .mode "external") (not (get . .mode).existingSecret) }}true{{ end }}{{ end }}
{{- end }}

{{/* Whether it makes the password of the dev Redis. */}}
{{- define "headrace.makesStore" -}}
{{- with .Values.redis }}{{ if and (eq .mode "dev") (not .dev.existingSecret) }}true{{ end }}{{ end }}
{{- end }}

{{/* The Secrets with a password that it makes: for each the value that would name one of yours, and its name; as YAML. */}}
{{- define "headrace.madeSecrets" -}}
{{- $name := include "headrace.fullname" . -}}
{{- $made := dict -}}
{{- if include "headrace.makesKey" . }}{{ $_ := set $made "gateway.apiKeys.existingSecret" (printf "%s-api-key" $name) }}{{ end -}}
{{- if include "headrace.makesUser" . }}{{ $_ := set $made (printf "rabbitmq.%s.existingSecret" .Values.rabbitmq.mode) (printf "%s-rabbitmq-user" $name) }}{{ end -}}
{{- if include "headrace.makesStore" . }}{{ $_ := set $made "redis.dev.existingSecret" (printf "%s-redis" $name) }}{{ end -}}
{{- toYaml $made }}
{{- end }}

{{/* Whether there is no cluster to ask, as with `helm template`: `lookup` finds nothing then, not even what every cluster has. Asked for
in the order of the rights that it takes: the Secrets, which each upgrade reads; the ServiceAccount that Kubernetes makes in each namespace;
and only where the namespace is not there yet, as with --create-namespace, the namespace `default`, which a user that makes namespaces may read.
A Forbidden ends the render, with what was asked for. Given (root, the names of Secrets that an earlier revision has made). */}}
{{- define "headrace.offline" -}}
{{- $namespace := (index . 0).Release.Namespace -}}
{{- $found := false -}}
{{- range index . 1 }}{{ $found = or $found (lookup "v1" "Secret" $namespace . | empty | not) }}{{ end -}}
{{- if not $found }}{{ if not (lookup "v1" "ServiceAccount" $namespace "default") }}{{ if not (lookup "v1" "Namespace" "" "default") }}true{{ end }}{{ end }}{{ end -}}
{{- end }}

{{/* A value that is kept while its Secret is there. Given (root, Secret, key, the first value). Offline it would be new each time:
validations.yaml refuses that. */}}
{{- define "headrace.kept" -}}
{{- $root := index . 0 -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace (index . 1) | default dict -}}
{{- $value := get ($found.data | default dict) (index . 2) -}}
{{- if $value }}{{ $value | b64dec }}{{ else }}{{ index . 3 }}{{ end }}
{{- end }}
