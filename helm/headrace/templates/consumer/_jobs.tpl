{{/* The values that an entry of consumers with `mode: job` has in the place of consumerDefaults. A disruption budget can count the pods of Deployments
only: Jobs have no scale. */}}
{{- define "headrace.job.defaults" -}}
min: 0
concurrency: 1
prefetch: 0
podDisruptionBudget: {enabled: false}
{{- end }}

{{/* A CronJob's name has 52 characters, so that its Jobs' names have 63. Given (root, entry of consumers). */}}
{{- define "headrace.job.name" -}}
{{- $full := printf "%s-consumer-%s" (include "headrace.fullname" (index . 0)) (index . 1) -}}
{{- if gt (len $full) 52 }}{{ printf "%s-%s" ($full | trunc 45 | trimSuffix "-") ($full | sha256sum | trunc 6) }}{{ else }}{{ $full }}{{ end }}
{{- end }}

{{/* The CronJobs, as a list. */}}
{{- define "headrace.job.names" -}}
{{- $names := list -}}
{{- range $name, $of := include "headrace.consumers" . | fromYaml }}
{{- if eq "job" $of.mode }}{{ $names = append $names (include "headrace.job.name" (list $ $name)) }}{{ end }}
{{- end -}}
{{- $names | toJson }}
{{- end }}

{{/* The pod template of a Job: that of a Deployment with the same values, which takes one delivery and is not started again. Given (root,
entry of consumers). */}}
{{- define "headrace.job.template" -}}
{{- $root := index . 0 -}}
{{- $of := include "headrace.consumer" . | fromYaml -}}
{{- $as := dict "root" $root "who" (list $root "consumer" (index . 1)) "of" $of "place" (printf "consumers.%s" (index . 1)) "grace" (add $of.drainSeconds 15) "spread" true -}}
{{- $pod := include "headrace.podTemplate" $as | fromYaml -}}
{{- $_ := set $pod.spec "restartPolicy" "Never" -}}
{{- range $pod.spec.containers }}{{ if eq .name "consumer" }}{{ $_ := set . "command" (append .command "--once") }}{{ end }}{{ end -}}
{{- /* Programs that make room on nodes leave them alone: the Cluster Autoscaler, and Karpenter. */ -}}
{{- $stay := dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" "karpenter.sh/do-not-disrupt" "true" -}}
{{- $_ := set $pod.metadata "annotations" (mergeOverwrite $stay ($pod.metadata.annotations | default dict)) -}}
{{- toYaml $pod }}
{{- end }}
