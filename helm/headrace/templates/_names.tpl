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

{{/* Made as one mapping, so that no key stands twice: what the chart sets goes before what the object is given, and that before
commonLabels. Given (root, component, entry or "", name, and perhaps the object's own labels). */}}
{{- define "headrace.labels" -}}
{{- $root := index . 0 -}}
{{- $own := gt (len .) 4 | ternary (last .) dict | default dict -}}
{{- $version := $root.Values.image.tag | default $root.Chart.AppVersion | trunc 63 | trimAll "._-" -}}
{{- $chart := printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" -}}
{{- $ours := dict "app.kubernetes.io/version" $version "helm.sh/chart" $chart -}}
{{- merge $ours (include "headrace.chartLabels" . | fromYaml) $own $root.Values.commonLabels | toYaml }}
{{- end }}

{{/* Those that no upgrade changes by itself. */}}
{{- define "headrace.stableLabels" -}}
{{- merge (include "headrace.chartLabels" . | fromYaml) (index . 0).Values.commonLabels | toYaml }}
{{- end }}

{{/* Those of them that the chart itself sets. */}}
{{- define "headrace.chartLabels" -}}
{{ include "headrace.selector" . }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end }}

{{/* Given (root, component, entry or "", name, and perhaps labels of its own). */}}
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

{{/* Secrets: by name, one for each credential. */}}
{{- define "headrace.secret.broker" -}}
{{- with .Values.rabbitmq -}}
{{- if eq .mode "external" }}{{ .external.existingSecret }}
{{- else }}{{ (get . .mode).existingSecret | default (printf "%s-rabbitmq-user" (include "headrace.fullname" $)) }}{{ end }}
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
