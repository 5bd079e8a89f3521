{{/* How many replicas the manifest of a Deployment names, as YAML: `replicas`, and `kept` where that is the cluster's own number.

Where an autoscaler sets the number, the manifest names none. But where the last manifest did, leaving it out takes it away: Helm 3's
three-way merge deletes a field that goes, Helm 4's server-side apply one that has no other owner, and Kubernetes then puts 1. So the number
that the cluster has is named, until somebody else owns it. Three-way merge tells no owner: there it is named for good, which the annotation
headrace/replicas keeps in mind; without it, the last manifest named a number unless the autoscaler was there. Offline there is nothing to
look at, and none is named.

Given (root, the Deployment's name, whether an autoscaler sets it, the autoscaler as arguments of lookup, the values' number, whether that is
only the least). */}}
{{- define "headrace.replicas" -}}
{{- $root := index . 0 -}}
{{- $scaled := index . 2 -}}
{{- if not (or $scaled (index . 5)) }}{{ dict "replicas" (index . 4) | toYaml -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" $root.Release.Namespace (index . 1) | default dict -}}
{{- $now := $live | empty | ternary 0 (int (dig "spec" "replicas" 1 $live)) -}}
{{- if not $scaled }}{{ dict "replicas" (max (index . 4) $now) "kept" true | toYaml -}}
{{- else if include "headrace.takenAway" (list $root $live (index . 3)) }}{{ dict "replicas" $now "kept" true | toYaml -}}
{{- else }}{{ dict | toYaml }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Whether the number would fall if the manifest named none. Given (root, the Deployment as it is or nothing, the autoscaler). */}}
{{- define "headrace.takenAway" -}}
{{- $live := index . 1 -}}
{{- $of := index . 2 -}}
{{- if $live }}{{ if not (include "headrace.ownedReplicas" $live) -}}
{{- $marked := hasKey (dig "metadata" "annotations" dict $live) "headrace/replicas" -}}
{{- if or $marked (not (lookup (index $of 0) (index $of 1) (index . 0).Release.Namespace (index $of 2))) }}true{{ end -}}
{{- end }}{{ end -}}
{{- end }}

{{/* Whether the Deployment is applied by the server, and its replicas are owned by who sets them otherwise, as an autoscaler does. */}}
{{- define "headrace.ownedReplicas" -}}
{{- $applied := false -}}
{{- $owned := false -}}
{{- range dig "metadata" "managedFields" list . -}}
{{- if eq .operation "Apply" }}{{ $applied = true -}}
{{- else if hasKey (dig "f:spec" dict (.fieldsV1 | default dict)) "f:replicas" }}{{ $owned = true }}{{ end -}}
{{- end -}}
{{- if and $applied $owned }}true{{ end -}}
{{- end }}
