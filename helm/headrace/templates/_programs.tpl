{{/* Metadata of a NetworkPolicy. Given (root, name). */}}
{{- define "headrace.policy" -}}
{{- include "headrace.metadata" (list (index . 0) "policy" "" (index . 1) dict (index . 0).Values.networkPolicy.annotations) }}
{{- end }}

{{/* The volume of a dev broker or store, with what becomes of it. Given (root, component, "", its values). */}}
{{- define "headrace.volume" -}}
{{- $dev := index . 3 -}}
persistentVolumeClaimRetentionPolicy: {whenDeleted: {{ $dev.keep | ternary "Retain" "Delete" }}, whenScaled: Retain}
volumeClaimTemplates:
  - metadata:
      name: data
      labels:
        {{- include "headrace.selector" (slice . 0 3) | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $dev.storageClassName }}
      storageClassName: {{ . | quote }}
      {{- end }}
      resources: {requests: {storage: {{ $dev.storage | quote }}}}
{{- end }}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Settings as environment variables: first what the chart decides, then the common ones, then the program's. Given (root, chart's, own). */}}
{{- define "headrace.settings" -}}
{{- $root := index . 0 -}}
{{- $all := dict "BROKER_FILE" "/etc/headrace/broker/url" "OUTCOMES_FILE" "/etc/headrace/redis/url" "LOG_FORMAT" "json" -}}
{{- $factor := $root.Values.rabbitmq.replicationFactor -}}
{{- $_ := set $all "REPLICATION_FACTOR" (kindIs "invalid" $factor | ternary (eq $root.Values.rabbitmq.mode "dev" | ternary 1 3) $factor) -}}
{{- $all = mergeOverwrite $all (index . 1) ($root.Values.settings | default dict) (index . 2 | default dict) -}}
{{- range $name, $value := $all }}
- name: HEADRACE_{{ $name }}
  value: {{ (kindIs "float64" $value | ternary (toJson $value) (toString $value)) | quote }}
{{- end }}
{{- end }}

{{- define "headrace.credentialMounts" -}}
- {name: broker, mountPath: /etc/headrace/broker, readOnly: true}
- {name: redis, mountPath: /etc/headrace/redis, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{/* Mounted as folders, not as variables: the kubelet renews a folder, and the programs read it for each connection. */}}
{{- define "headrace.credentials" -}}
- name: broker
  secret:
    secretName: {{ include "headrace.secret.broker" . | quote }}
    defaultMode: 0440
    items: [{key: {{ include "headrace.secret.broker.key" . | quote }}, path: url}]
- name: redis
  secret:
    secretName: {{ include "headrace.secret.redis" . | quote }}
    defaultMode: 0440
    items: [{key: {{ include "headrace.secret.redis.key" . | quote }}, path: url}]
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- end }}

{{/* Startup asks as often as the wait for the first job allows; an unavailable broker fails readiness, and kills no pod. Given the port's name. */}}
{{- define "headrace.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ . }}}
  initialDelaySeconds: 1
  periodSeconds: 1
  failureThreshold: 60
  timeoutSeconds: 2
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 2
  failureThreshold: 2
  timeoutSeconds: 2
livenessProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 10
  failureThreshold: 3
  timeoutSeconds: 5
{{- end }}

{{- define "headrace.managementMount" -}}
{{- if .Values.controller.managementUrl.existingSecret -}}
- {name: management, mountPath: /etc/headrace/management, readOnly: true}
{{- end }}
{{- end }}

{{- define "headrace.management" -}}
{{- with .Values.controller.managementUrl }}
{{- if .existingSecret -}}
- name: management
  secret: {secretName: {{ .existingSecret | quote }}, defaultMode: 0440, items: [{key: {{ .key | quote }}, path: url}]}
{{- end }}
{{- end }}
{{- end }}
