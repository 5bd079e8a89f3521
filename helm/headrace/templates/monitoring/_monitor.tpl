{{/* Metadata of an object that a Prometheus selects by label. Given (root, name). */}}
{{- define "headrace.monitor" -}}
{{- include "headrace.metadata" (list (index . 0) "monitoring" "" (index . 1)) }}
{{- with (index . 0).Values.monitoring.labels }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
