{{/* What all pods have in common: who they run as, where they run, and how they are watched. */}}

{{- define "abdomenatlas.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "abdomenatlas.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where the component's pods run. Takes root, component, and "values" if they are not those of the component's name. */}}
{{- define "abdomenatlas.placement" -}}
{{- $values := .values | default (index .root.Values .component) -}}
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Pods of which there may be several go to different zones and nodes, where these have room. */}}
{{- define "abdomenatlas.spread" -}}
topologySpreadConstraints:
  {{- range tuple "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "abdomenatlas.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* Labels and annotations of the component's pods. A change of what only configuration holds restarts them. */}}
{{- define "abdomenatlas.podMetadata" -}}
{{- $values := index .root.Values .component -}}
metadata:
  labels: {{- include "abdomenatlas.labels" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $checksum := include "abdomenatlas.secrets" . | fromYamlArray | empty | ternary "" (include "abdomenatlas.checksum" .) }}
  {{- with merge ($checksum | empty | ternary dict (dict "checksum/secrets" $checksum)) $values.podAnnotations .root.Values.commonAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* What pods read only once and no other field of theirs shows: the names of the Secrets and ConfigMaps stand in the
pod itself, so what remains is which Secrets with which contents there are now, where the cluster can be asked. */}}
{{- define "abdomenatlas.checksum" -}}
{{- $contents := list -}}
{{- range $name := include "abdomenatlas.secrets" . | fromYamlArray -}}
{{- with lookup "v1" "Secret" $.root.Release.Namespace $name -}}
{{- $contents = append $contents .data -}}
{{- end -}}
{{- end -}}
{{ toJson $contents | sha256sum }}
{{- end -}}

{{/* Secrets that the component reads only at its start; certificates are read again when they change. */}}
{{- define "abdomenatlas.secrets" -}}
{{- $names := list -}}
{{- if or (eq .component "storage") (eq .component "scheduler") -}}
{{- $names = append $names (include "abdomenatlas.databaseSecret" . | fromYaml).name -}}
{{- end -}}
{{- if eq .component "storage" -}}
{{- $names = append $names (include "abdomenatlas.s3" . | fromYaml).existingSecret.name -}}
{{- end -}}
{{- if not (has .component (list "triton" "training")) -}}
{{- $names = append $names .root.Values.metrics.token.name -}}
{{- end -}}
{{ $names | compact | toJson }}
{{- end -}}

{{/* gRPC probes of "probePort", or what "ready" and "alive" say; starting may take "startSeconds", and a pod that is not
well for "sickSeconds" is started again. */}}
{{- define "abdomenatlas.probes" -}}
{{- $grpc := printf "grpc: {port: %s}" .probePort -}}
startupProbe:
  {{ .ready | default $grpc }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div (add .startSeconds 4) 5 }}
readinessProbe:
  {{ .ready | default $grpc }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  {{ .alive | default $grpc }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: {{ div .sickSeconds 10 }}
{{- end -}}

{{/* Before SIGTERM a pod goes on for some seconds, until nobody is sent to it any more. */}}
{{- define "abdomenatlas.drain" -}}
lifecycle:
  preStop:
    exec:
      command: [sleep, "5"]
{{- end -}}
