{{/* How many replicas the manifest of a Deployment names, as YAML: `replicas`, and `kept` where that is the cluster's own number.

Where an autoscaler sets the number, the manifest names none. But where the last manifest did, leaving it out takes it away: Helm 3's
three-way merge deletes a field that goes, Helm 4's server-side apply one that nobody else owns, and Kubernetes then puts 1. So the number
that the cluster has is named, until somebody else owns it. Three-way merge tells no owner: there it is named for good, which the annotation
headrace/replicas keeps in mind; without it, the last manifest named a number unless the autoscaler was there. Offline there is nothing to
look at, and none is named.

Given (root, the Deployment's name, whether an autoscaler sets it, the autoscaler as arguments of lookup, the values' number, whether that is
only the least). */}}
{{- define "headrace.replicas" -}}
{{- $root := index . 0 -}}
{{- $live := lookup "apps/v1" "Deployment" $root.Release.Namespace (index . 1) | default dict -}}
{{- $now := int (dig "spec" "replicas" 1 $live) -}}
{{- $kept := false -}}
{{- if and $live (index . 2) -}}
{{- $marked := hasKey (dig "metadata" "annotations" dict $live) "headrace/replicas" -}}
{{- $of := index . 3 -}}
{{- $there := lookup (index $of 0) (index $of 1) $root.Release.Namespace (index $of 2) -}}
{{- $kept = and (not (include "headrace.ownedReplicas" $live)) (or $marked (not $there)) -}}
{{- end -}}
{{- if $kept }}{{ dict "replicas" $now "kept" true | toYaml }}
{{- else if index . 2 }}{{ dict | toYaml }}
{{- else if index . 5 }}{{ dict "replicas" (max (index . 4) ($live | empty | ternary 0 $now)) "kept" true | toYaml }}
{{- else }}{{ dict "replicas" (index . 4) | toYaml }}{{ end -}}
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
