{{/* The longest name is of a consumer's Deployment: this, `-consumer-` and 22 characters; and a name has 63. What is cut ends with a
hash of the whole, so that two long names stay two. */}}
{{- define "headrace.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $release := .Release.Name | replace "." "-" }}
{{- $full := .Values.fullnameOverride | default (contains $name $release | ternary $release (printf "%s-%s" $release $name)) }}
{{- if gt (len $full) 30 }}{{ printf "%s-%s" ($full | trunc 23 | trimSuffix "-") ($full | sha256sum | trunc 6) }}{{ else }}{{ $full | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Every pod of this release. */}}
{{- define "headrace.release" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What a selector selects by: nothing that an upgrade changes. Given (root, component, entry of consumers or ""). */}}
{{- define "headrace.selector" -}}
{{ include "headrace.release" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- with index . 2 }}
headrace/consumer: {{ . }}
{{- end }}
{{- end }}

{{- define "headrace.labels" -}}
{{- $root := index . 0 -}}
{{ include "headrace.stableLabels" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | trunc 63 | trimAll "._-" | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Those that no upgrade changes by itself. */}}
{{- define "headrace.stableLabels" -}}
{{- $root := index . 0 -}}
{{ include "headrace.selector" . }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "headrace.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "headrace.fullname" $root }}-{{ index . 3 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "headrace.labels" . | nindent 2 }}
{{- end }}

{{- define "headrace.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* An entry of consumers with what it takes from consumerDefaults. Given (root, name); gives YAML. */}}
{{- define "headrace.consumer" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values.consumers (index . 1) -}}
{{- $defaults := deepCopy $root.Values.consumerDefaults -}}
{{- if eq "job" ($own.mode | default $defaults.mode) }}{{ $defaults = mergeOverwrite $defaults (include "headrace.job.defaults" . | fromYaml) }}{{ end -}}
{{- $merged := mergeOverwrite $defaults (deepCopy $own) -}}
{{- toYaml $merged }}
{{- end }}

{{- define "headrace.consumer.names" -}}
{{- $names := list -}}
{{- range $name, $_ := .Values.consumers }}
{{- if ne "job" (include "headrace.consumer" (list $ $name) | fromYaml).mode }}{{ $names = append $names (printf "%s-consumer-%s" (include "headrace.fullname" $) $name) }}{{ end }}
{{- end -}}
{{- $names | toJson }}
{{- end }}

{{- define "headrace.workloads" -}}
{{- $all := list -}}
{{- range $name, $_ := .Values.consumers }}
{{- $of := include "headrace.consumer" (list $ $name) | fromYaml -}}
{{- $policy := merge (dict "min_replicas" (int $of.min) "max_replicas" (int $of.max) "concurrency" (int $of.concurrency) "drain_seconds" $of.drainSeconds) ($of.policy | default dict) -}}
{{- $workload := eq $of.mode "job" | ternary (printf "job/%s" (include "headrace.job.name" (list $ $name))) (printf "%s-consumer-%s" (include "headrace.fullname" $) $name) }}
{{- $all = append $all (dict "name" $workload "queues" $of.queues "policy" $policy) -}}
{{- end }}
{{- $all | toJson }}
{{- end }}

{{/* Secrets: by name, one for each credential. */}}
{{- define "headrace.secret.broker" -}}
{{- with .Values.rabbitmq -}}
{{- if eq .mode "external" }}{{ .external.existingSecret }}
{{- else if and (eq .mode "dev") .dev.existingSecret }}{{ .dev.existingSecret }}
{{- else }}{{ include "headrace.fullname" $ }}-rabbitmq-user{{ end }}
{{- end }}
{{- end }}

{{- define "headrace.secret.broker.key" -}}
{{- if eq .Values.rabbitmq.mode "external" }}{{ .Values.rabbitmq.external.key }}{{ else }}url{{ end }}
{{- end }}

{{- define "headrace.secret.redis" -}}
{{- with .Values.redis -}}
{{- if eq .mode "external" }}{{ .external.existingSecret }}{{ else }}{{ .dev.existingSecret | default (printf "%s-redis" (include "headrace.fullname" $)) }}{{ end }}
{{- end }}
{{- end }}

{{- define "headrace.secret.redis.key" -}}
{{- if eq .Values.redis.mode "external" }}{{ .Values.redis.external.key }}{{ else }}url{{ end }}
{{- end }}

{{- define "headrace.secret.keys" -}}
{{ .Values.gateway.apiKeys.existingSecret | default (printf "%s-api-keys" (include "headrace.fullname" .)) }}
{{- end }}

{{/* The chart makes an API key where it also makes the broker: a first try needs no preparation. */}}
{{- define "headrace.makesKey" -}}
{{- if and (eq .Values.rabbitmq.mode "dev") (not .Values.gateway.apiKeys.existingSecret) (not .Values.gateway.apiKeys.open) }}true{{ end }}
{{- end }}

{{/* What stays what it is while its Secret is there. Given (root, Secret, key, what it is at first); offline it is new each time. */}}
{{- define "headrace.kept" -}}
{{- $root := index . 0 -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace (index . 1) | default dict -}}
{{- $value := get ($found.data | default dict) (index . 2) -}}
{{- if $value }}{{ $value | b64dec }}{{ else }}{{ index . 3 }}{{ end }}
{{- end }}
