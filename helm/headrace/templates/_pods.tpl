{{/* The pod of a part, with all options of pods that values.yaml has: no part says them itself, so that none can lack one. Given
{root; who: (root, component, entry of consumers or ""); of: the part's values; place: where they are in values.yaml; grace: seconds
to end; spread: over nodes and zones, unless the values say; token: of the API server; annotations: the chart's own, as a mapping;
below: those that go below all, where the pod is an object of the chart itself; labels: the template of its labels, where an upgrade may change them; more: what else is in the pod's spec, as YAML}.

A part has an image of its own where its values name one. The differences between parts are in templates that each part defines, each given
the same: headrace.COMPONENT.container (command, ports, probes), .env, .mounts and .volumes, as YAML. */}}
{{- define "headrace.podTemplate" -}}
metadata:
  {{- include "headrace.podMetadata" . | nindent 2 }}
spec:
  {{- include "headrace.podSpec" . | nindent 2 }}
{{- end }}

{{/* Spread over zones as an affinity: a topologySpreadConstraint whose label the nodes of a cluster do not have makes the scheduler pass
over the others as well. An affinity of the values that says whom pods avoid takes its place. */}}
{{- define "headrace.zones" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: topology.kubernetes.io/zone
        labelSelector:
          matchLabels:
            {{- include "headrace.selector" .who | nindent 12 }}
        matchLabelKeys: [pod-template-hash]
{{- end }}

{{- define "headrace.podMetadata" -}}
{{- $options := include "headrace.podOptions" . | fromJson -}}
labels:
  {{- toYaml (mergeOverwrite (include (.labels | default "headrace.stableLabels") .who | fromYaml) $options.podLabels) | nindent 2 }}
{{- $below := include "headrace.over" (list (.below | default dict) $options.podAnnotations) | fromYaml }}
{{- with include "headrace.over" (list $below (.annotations | default dict)) | fromYaml }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "headrace.podSpec" -}}
{{- $root := .root -}}
{{- $options := include "headrace.podOptions" . | fromJson -}}
{{- with $root.Values.imagePullSecrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{ end -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with include "headrace.uid" . }}
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- if and .spread (not (kindIs "slice" $options.topologySpreadConstraints)) }}
{{- $affinity := $options.affinity | default dict }}
{{- if not (hasKey $affinity "podAntiAffinity") }}{{ $_ := set $options "affinity" (merge (include "headrace.zones" . | fromYaml) $affinity) }}{{ end }}
{{- end }}
{{- with include "headrace.podPlaced" $options | fromYaml }}
{{ toYaml . }}
{{- end }}
{{- if and .spread (not (kindIs "slice" $options.topologySpreadConstraints)) }}
# Of one rollout: pods of the version before, which go, are no reason to put the new ones together.
topologySpreadConstraints:
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "headrace.selector" .who | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
serviceAccountName: {{ include "headrace.account" . | quote }}
automountServiceAccountToken: {{ .token | default false }}
terminationGracePeriodSeconds: {{ .grace }}
{{- with .more }}
{{ . }}
{{- end }}
{{- with concat ($options.sidecars | default list) ($options.initContainers | default list) }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: {{ index .who 1 }}
    {{- with .of.image }}
    image: {{ . | quote }}
    imagePullPolicy: {{ $.of.imagePullPolicy }}
    {{- else }}
    image: {{ include "headrace.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    {{- end }}
    securityContext:
      {{- include "headrace.containerSecurity" $root | nindent 6 }}
    {{- include (printf "headrace.%s.container" (index .who 1)) . | nindent 4 }}
    {{- with include "headrace.podEnv" . }}
    env:
      {{- . | nindent 6 }}
    {{- end }}
    {{- with $options.envFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    resources:
      {{- toYaml (.of.resources | default dict) | nindent 6 }}
    {{- with include "headrace.podMounts" . }}
    volumeMounts:
      {{- . | nindent 6 }}
    {{- end }}
{{- with include "headrace.podVolumes" . }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The options that are fields of the pod itself, and not of a container, as YAML: a pod that an operator makes can have them, too. Given
the options. */}}
{{- define "headrace.podPlaced" -}}
{{- $fields := dict -}}
{{- range $name := list "priorityClassName" "runtimeClassName" "nodeSelector" "tolerations" "affinity" "hostAliases" "dnsConfig" }}
{{- with get $ $name }}{{ $_ := set $fields $name . }}{{ end }}
{{- end }}
{{- if kindIs "slice" .topologySpreadConstraints }}{{ $_ := set $fields "topologySpreadConstraints" .topologySpreadConstraints }}{{ end }}
{{- toYaml $fields }}
{{- end }}

{{/* The options of all pods and those of a part, merged. As JSON. */}}
{{- define "headrace.podOptions" -}}
{{- $all := .root.Values -}}
{{- $of := .of -}}
{{- $options := dict -}}
{{- range $name, $key := dict "env" "name" "volumes" "name" "volumeMounts" "mountPath" "sidecars" "name" "initContainers" "name" }}
{{- $_ := set $options $name (include "headrace.added" (list (get $all $name) (get $of $name) $key) | fromJsonArray) }}
{{- end }}
{{- $_ := set $options "envFrom" (concat ($all.envFrom | default list) ($of.envFrom | default list) | uniq) }}
{{- range $name := list "podLabels" "podAnnotations" }}
{{- $_ := set $options $name (include "headrace.over" (list (get $all $name | default dict) (get $of $name | default dict)) | fromYaml) }}
{{- end }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "hostAliases" "dnsConfig" }}
{{- $said := and (hasKey $of $name) (not (kindIs "invalid" (get $of $name))) }}
{{- $_ := set $options $name (get ($said | ternary $of $all) $name) }}
{{- end }}
{{- range $name := list "priorityClassName" "runtimeClassName" }}
{{- $_ := set $options $name (get $of $name | default (get $all $name)) }}
{{- end }}
{{- $security := include "headrace.containerSecurity" .root | fromYaml }}
{{- range $name := list "sidecars" "initContainers" }}
{{- range $one := get $options $name }}
{{- if eq $name "sidecars" }}{{ $_ := set $one "restartPolicy" "Always" }}{{ end }}
{{- if not (hasKey $one "securityContext") }}{{ $_ := set $one "securityContext" $security }}{{ end }}
{{- end }}
{{- end }}
{{- toJson $options }}
{{- end }}

{{/* Two lists as one, in which what the second has replaces what has the same key in the first. Given (first, second, key). */}}
{{- define "headrace.added" -}}
{{- $key := index . 2 -}}
{{- $above := index . 1 | default list -}}
{{- $named := list }}{{ range $above }}{{ $named = append $named (get . $key) }}{{ end }}
{{- $kept := list }}{{ range index . 0 | default list }}{{ if not (has (get . $key) $named) }}{{ $kept = append $kept . }}{{ end }}{{ end }}
{{- concat $kept $above | default list | toJson }}
{{- end }}

{{/* Three lists of a container and its pod, as YAML: the part's own, what every pod of the image has, and the values'. */}}
{{- define "headrace.podEnv" -}}
{{- $own := list (include (printf "headrace.%s.env" (index .who 1)) .) (.of.image | empty | ternary (include "headrace.imageEnv" .) "") -}}
{{- include "headrace.podList" (list . "env" "name" $own) }}
{{- end }}

{{- define "headrace.podMounts" -}}
{{- $trusts := and (empty .of.image) (include "headrace.bundle" .root) -}}
{{- $own := list (include (printf "headrace.%s.mounts" (index .who 1)) .) ($trusts | empty | ternary "" "- {name: ca, mountPath: /etc/headrace/ca, readOnly: true}") -}}
{{- include "headrace.podList" (list . "volumeMounts" "mountPath" $own) }}
{{- end }}

{{- define "headrace.podVolumes" -}}
{{- $own := list (include (printf "headrace.%s.volumes" (index .who 1)) .) (.of.image | empty | ternary (include "headrace.bundle" .root) "") -}}
{{- include "headrace.podList" (list . "volumes" "name" $own) }}
{{- end }}

{{/* Refuses what the chart has itself under the same name. Given (pod, option, what names its items, the chart's own as texts). */}}
{{- define "headrace.podList" -}}
{{- $pod := index . 0 -}}
{{- $option := index . 1 -}}
{{- $key := index . 2 -}}
{{- $given := get (include "headrace.podOptions" $pod | fromJson) $option -}}
{{- $own := list }}{{ range index . 3 }}{{ with . | default "" | trim }}{{ $own = append $own . }}{{ end }}{{ end }}
{{- $taken := list }}{{ range join "\n" $own | fromYamlArray }}{{ $taken = append $taken (get . $key) }}{{ end }}
{{- range $given }}
{{- if has (get . $key) $taken }}
{{- fail (printf "\n\n- %s.%s: the chart has %s in this pod itself: leave it out, here and in `%s` of all pods, or give it another name.\n" $pod.place $option (get . $key) $option) }}
{{- end }}
{{- end }}
{{- with $given }}{{ $own = append $own (toYaml .) }}{{ end }}
{{- join "\n" $own }}
{{- end }}
