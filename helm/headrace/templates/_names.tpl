{{/* The longest name is of a consumer's Deployment: this, `-consumer-` and 22 characters; and a name has 63. A name that is cut ends with a
hash of the whole, so that two long names stay two. */}}
{{- define "headrace.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $release := .Release.Name | replace "." "-" }}
{{- $full := .Values.fullnameOverride | default (contains $name $release | ternary $release (printf "%s-%s" $release $name)) }}
{{- if gt (len $full) 30 }}{{ printf "%s-%s" ($full | trunc 23 | trimSuffix "-") ($full | sha256sum | trunc 6) }}{{ else }}{{ $full | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Every pod of this release. */}}
{{- define "headrace.release" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* The labels of a selector: none that an upgrade changes. Given (root, component, entry of consumers or ""). */}}
{{- define "headrace.selector" -}}
{{ include "headrace.release" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- with index . 2 }}
headrace/consumer: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Made as one mapping, so that no key stands twice. The chart's own labels take precedence over the object's, and these over
commonLabels. Given (root, component, entry or "", name, and perhaps the object's own labels). */}}
{{- define "headrace.labels" -}}
{{- $root := index . 0 -}}
{{- $own := dict -}}
{{- if gt (len .) 4 }}{{ $own = index . 4 | default dict }}{{ end -}}
{{- $version := $root.Values.image.tag | default $root.Chart.AppVersion | trunc 63 | trimAll "._-" -}}
{{- $chart := printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" -}}
{{- $ours := dict "app.kubernetes.io/version" $version "helm.sh/chart" $chart -}}
{{- $ours = merge $ours (include "headrace.chartLabels" . | fromYaml) -}}
{{- include "headrace.over" (list (include "headrace.over" (list $root.Values.commonLabels $own) | fromYaml) $ours) }}
{{- end }}

{{/* Those that no upgrade changes by itself. */}}
{{- define "headrace.stableLabels" -}}
{{- include "headrace.over" (list (index . 0).Values.commonLabels (include "headrace.chartLabels" . | fromYaml)) }}
{{- end }}

{{/* Those of them that the chart itself sets. */}}
{{- define "headrace.chartLabels" -}}
{{ include "headrace.selector" . }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end }}

{{/* Given (root, component, entry or "", name, and perhaps labels of its own, and annotations of its own). */}}
{{- define "headrace.metadata" -}}
{{- $name := printf "%s-%s" (include "headrace.fullname" (index . 0)) (index . 3) -}}
{{- include "headrace.named" (concat (slice . 0 3) (list $name) (slice . 4)) }}
{{- end }}

{{/* The same with the whole name. Annotations of its own take precedence over commonAnnotations. */}}
{{- define "headrace.named" -}}
{{- $root := index . 0 -}}
{{- $own := dict -}}
{{- if gt (len .) 5 }}{{ $own = index . 5 | default dict }}{{ end -}}
name: {{ index . 3 | quote }}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- include "headrace.labels" . | nindent 2 }}
{{- with include "headrace.over" (list $root.Values.commonAnnotations $own) | fromYaml }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "headrace.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The Secret with the certificate of a RabbitmqCluster's nodes; empty without TLS. */}}
{{- define "headrace.secret.certificate" -}}
{{- with .Values.rabbitmq }}{{ if eq .mode "operator" }}{{ dig "existingSecret" "" (.operator.tls | default dict) }}{{ end }}{{ end }}
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
