{{/* The entries of consumers that are enabled, by name, each with what it takes from consumerDefaults; as YAML. */}}
{{- define "headrace.consumers" -}}
{{- $all := dict -}}
{{- range $name, $_ := .Values.consumers -}}
{{- $of := include "headrace.consumer" (list $ $name) | fromYaml -}}
{{- if $of.enabled }}{{ $_ := set $all $name $of }}{{ end -}}
{{- end -}}
{{- toYaml $all }}
{{- end }}

{{/* One of them. A quantity that is empty is none. Given (root, name); gives YAML. */}}
{{- define "headrace.consumer" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values.consumers (index . 1) -}}
{{- $defaults := deepCopy $root.Values.consumerDefaults -}}
{{- if eq "job" ($own.mode | default $defaults.mode) }}{{ $defaults = mergeOverwrite $defaults (include "headrace.job.defaults" . | fromYaml) }}{{ end -}}
{{- $of := include "headrace.over" (list $defaults $own) | fromYaml -}}
{{- $resources := dict -}}
{{- range $part, $quantities := $of.resources -}}
{{- $some := dict -}}
{{- range $name, $quantity := $quantities }}{{ if ne (toString $quantity) "" }}{{ $_ := set $some $name $quantity }}{{ end }}{{ end -}}
{{- if $some }}{{ $_ := set $resources $part $some }}{{ end -}}
{{- end -}}
{{- toYaml (set $of "resources" $resources) }}
{{- end }}

{{/* One mapping over another, key by key. An empty mapping and an empty list go over what is below, too: they clear it. So does null,
where Helm lets it through: Helm 4 drops it from the values of a parent chart. Given (below, above); gives YAML. */}}
{{- define "headrace.over" -}}
{{- $merged := deepCopy (index . 0 | default dict) -}}
{{- range $key, $value := index . 1 | default dict -}}
{{- if kindIs "invalid" $value }}{{ $_ := unset $merged $key -}}
{{- else if and $value (kindIs "map" $value) (kindIs "map" (get $merged $key)) -}}
{{- $_ := set $merged $key (include "headrace.over" (list (get $merged $key) $value) | fromYaml) -}}
{{- else }}{{ $_ := set $merged $key $value }}{{ end -}}
{{- end -}}
{{- toYaml $merged }}
{{- end }}

{{- define "headrace.consumer.names" -}}
{{- $names := list -}}
{{- range $name, $of := include "headrace.consumers" . | fromYaml }}
{{- if ne $of.mode "job" }}{{ $names = append $names (printf "%s-consumer-%s" (include "headrace.fullname" $) $name) }}{{ end }}
{{- end -}}
{{- $names | toJson }}
{{- end }}

{{- define "headrace.workloads" -}}
{{- $all := list -}}
{{- range $name, $of := include "headrace.consumers" . | fromYaml }}
{{- $policy := merge (dict "min_replicas" (int $of.min) "max_replicas" (int $of.max) "concurrency" (int $of.concurrency) "drain_seconds" $of.drainSeconds) ($of.policy | default dict) -}}
{{- $workload := eq $of.mode "job" | ternary (printf "job/%s" (include "headrace.job.name" (list $ $name))) (printf "%s-consumer-%s" (include "headrace.fullname" $) $name) }}
{{- $all = append $all (dict "name" $workload "queues" $of.queues "policy" $policy) -}}
{{- end }}
{{- $all | toJson }}
{{- end }}

{{/* Whether the controller scales the consumers. */}}
{{- define "headrace.scaled" -}}
{{- with .Values.controller }}{{ if and .enabled (not .dryRun) (gt (int .replicas) 0) }}true{{ end }}{{ end }}
{{- end }}
