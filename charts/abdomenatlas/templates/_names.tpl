{{/* Every name, label and address is made here. Most take a dict of "root" (the chart's own dot) and "component". */}}

{{- define "abdomenatlas.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $release .Values.fullnameOverride | replace "." "-" | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters: a StatefulSet adds 11 to its name for a label of its pods, which may have 63. A Service's name
may have no dot. */}}
{{- define "abdomenatlas.name" -}}
{{- $room := sub 51 (len .component) | int -}}
{{ include "abdomenatlas.fullname" .root | trunc $room | trimSuffix "-" }}-{{ .component }}
{{- end -}}

{{- define "abdomenatlas.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "abdomenatlas.labels" -}}
{{ include "abdomenatlas.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: abdomenatlas
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata of an object; "annotations" and "name" may be given. */}}
{{- define "abdomenatlas.metadata" -}}
metadata:
  name: {{ with .name }}{{ . }}{{ else }}{{ include "abdomenatlas.name" $ }}{{ end }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "abdomenatlas.labels" . | nindent 4 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "abdomenatlas.image" -}}
{{- $registry := .root.Values.global.imageRegistry -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ .image.repository }}
{{- $digest := .image.digest | default (get .root.Values.global.imageDigests .image.repository) -}}
{{- if $digest }}@{{ $digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end -}}

{{- define "abdomenatlas.ports" -}}
storage: {grpc: 50051, mutual: 50151, health: 50060, metrics: 9151}
inference: {grpc: 50052, mutual: 50152, health: 50060, metrics: 9152}
uncertainty: {grpc: 50053, mutual: 50153, health: 50060, metrics: 9153}
merging: {grpc: 50054, mutual: 50154, health: 50060, metrics: 9154}
scheduler: {grpc: 50055, mutual: 50155, health: 50060, metrics: 9155}
triton: {grpc: 8001, metrics: 8002}
{{- end -}}

{{/* One port of a component: "port" is grpc, mutual, health or metrics. */}}
{{- define "abdomenatlas.port" -}}
{{- $ports := include "abdomenatlas.ports" . | fromYaml -}}
{{ index $ports .component .port }}
{{- end -}}

{{/* The component's name as other pods look it up. */}}
{{- define "abdomenatlas.host" -}}
{{ include "abdomenatlas.name" . }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.global.clusterDomain }}
{{- end -}}

{{/* Where other pods call it. "dns:///" and a headless Service let the client see all pods and take turns among them;
the address of a ClusterIP would keep a connection, and so all calls, at one pod. */}}
{{- define "abdomenatlas.address" -}}
{{- $port := eq .component "triton" | or .root.Values.insecure | ternary "grpc" "mutual" -}}
dns:///{{ include "abdomenatlas.host" . }}:{{ include "abdomenatlas.port" (merge (dict "port" $port) .) }}
{{- end -}}

{{/* Secret with the component's certificate, key and authority. */}}
{{- define "abdomenatlas.certificate" -}}
{{- if eq .root.Values.tls.mode "existing" -}}
{{ index .root.Values.tls.existingSecrets .component }}
{{- else -}}
{{ include "abdomenatlas.name" . }}-tls
{{- end -}}
{{- end -}}

{{/* A number as the services read it: Helm holds numbers as floats, which print as 8.589934592e+09. */}}
{{- define "abdomenatlas.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else if kindIs "slice" . }}{{ toJson . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
