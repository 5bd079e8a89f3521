{{/* Variables of every pod of the image: whom it trusts, and, where it asks servers outside over HTTP, by which proxies. */}}
{{- define "headrace.imageEnv" -}}
{{- if include "headrace.bundle" .root }}
- {name: HEADRACE_CA_FILE, value: /etc/headrace/ca/ca.crt}
{{- end }}
{{- with .root.Values.proxy }}
{{- if and (or .http .https) (not (has (index $.who 1) (list "mail" "test"))) }}
{{- with .http }}
- {name: HTTP_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .https }}
- {name: HTTPS_PROXY, value: {{ . | quote }}}
{{- end }}
{{- $near := list (printf "%s-gateway" (include "headrace.fullname" $.root)) }}
{{- if eq $.root.Values.rabbitmq.mode "operator" }}{{ $near = append $near (printf "%s-rabbitmq" (include "headrace.fullname" $.root)) }}{{ end }}
- {name: NO_PROXY, value: {{ concat (.noProxy | default list) $near | join "," | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* Empty where there is none. */}}
{{- define "headrace.bundle" -}}
{{- with .Values.caBundle }}
{{- if .existingSecret }}
- name: ca
  secret: {secretName: {{ .existingSecret | quote }}, defaultMode: 0440, items: [{key: {{ .key | quote }}, path: ca.crt}]}
{{- else if .existingConfigMap }}
- name: ca
  configMap: {name: {{ .existingConfigMap | quote }}, defaultMode: 0440, items: [{key: {{ .key | quote }}, path: ca.crt}]}
{{- end }}
{{- end }}
{{- end }}

{{/* Empty where the platform chooses: of the image's pods, and of all where it does of these. It does where the value is empty, or null,
for which Helm leaves the key out. */}}
{{- define "headrace.uid" -}}
{{- $own := empty .of.image | ternary .root.Values.runAsUser .of.runAsUser }}
{{- if and .root.Values.runAsUser $own }}{{ int $own }}{{ end }}
{{- end }}

{{/* The name of a part's ServiceAccount. */}}
{{- define "headrace.account" -}}
{{- $own := .of.serviceAccount | default dict -}}
{{- $made := include "headrace.makesAccount" . -}}
{{- $suffix := index .who 2 | empty | ternary (index .who 1) (printf "%s-%s" (index .who 1) (index .who 2)) -}}
{{- if $own.name }}{{ $own.name }}
{{- else if $made }}{{ include "headrace.fullname" .root }}-{{ $suffix }}
{{- else }}{{ .root.Values.serviceAccount.name | default (printf "%s-programs" (include "headrace.fullname" .root)) }}
{{- end }}
{{- end }}

{{- define "headrace.makesAccount" -}}
{{- if dig "create" (eq (index .who 1) "controller") (.of.serviceAccount | default dict) }}true{{ end }}
{{- end }}

{{/* Every part that this release has: as a list of {place, component, entry, of}, in JSON. */}}
{{- define "headrace.parts" -}}
{{- $values := .Values -}}
{{- $parts := list (dict "place" "gateway" "component" "gateway" "entry" "" "of" $values.gateway) -}}
{{- range $name, $of := include "headrace.consumers" . | fromYaml }}
{{- $parts = append $parts (dict "place" (printf "consumers.%s" $name) "component" "consumer" "entry" $name "of" $of) }}
{{- end }}
{{- if $values.controller.enabled }}{{ $parts = append $parts (dict "place" "controller" "component" "controller" "entry" "" "of" $values.controller) }}{{ end }}
{{- range $name := list "rabbitmq" "redis" }}
{{- with get $values $name }}
{{- if eq .mode "dev" }}{{ $parts = append $parts (dict "place" (printf "%s.dev" $name) "component" $name "entry" "" "of" .dev) }}{{ end }}
{{- end }}
{{- end }}
{{- with $values.rabbitmq }}
{{- if eq .mode "operator" }}{{ $parts = append $parts (dict "place" "rabbitmq.operator" "component" "rabbitmq" "entry" "" "of" .operator) }}{{ end }}
{{- end }}
{{- if eq $values.mail.mode "dev" }}{{ $parts = append $parts (dict "place" "mail" "component" "mail" "entry" "" "of" $values.mail) }}{{ end }}
{{- if $values.bindings.prune }}{{ $parts = append $parts (dict "place" "bindings" "component" "bindings" "entry" "" "of" $values.bindings) }}{{ end }}
{{- append $parts (dict "place" "test" "component" "test" "entry" "" "of" $values.test) | toJson }}
{{- end }}
