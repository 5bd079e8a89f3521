{{/* Metadata of an object that a Prometheus selects by label. Given (root, name). */}}
{{- define "headrace.monitor" -}}
{{- include "headrace.metadata" (list (index . 0) "monitoring" "" (index . 1) (index . 0).Values.monitoring.labels) }}
{{- end }}

{{/* Whether this release makes monitors. */}}
{{- define "headrace.monitored" -}}
{{- $there := .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}
{{- if or (eq (toString .Values.monitoring.podMonitors) "true") (and (eq (toString .Values.monitoring.podMonitors) "auto") $there) }}true{{ end }}
{{- end }}

{{/* The fields of a monitor's endpoint besides its port. */}}
{{- define "headrace.scrape" -}}
path: /metrics
interval: {{ .Values.monitoring.interval | quote }}
relabelings:
  - {targetLabel: release, replacement: {{ .Release.Name | quote }}}
{{- end }}

{{/* Which series are those of this release: label matchers as in PromQL. Empty: all. */}}
{{- define "headrace.series" -}}
{{- if ne .Values.monitoring.selector "auto" }}{{ .Values.monitoring.selector }}
{{- else if include "headrace.monitored" . }}{{ printf "namespace=%q,release=%q" .Release.Namespace .Release.Name }}{{ end }}
{{- end }}
