{{- define "abdomenatlas.scheduler.env" -}}
{{ include "abdomenatlas.databaseEnvironment" . }}
# The pod's name is the same after a restart, and with it the work that was in flight.
- name: ATLAS_SCHEDULER_EXECUTOR_ID
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
{{- range tuple "storage" "inference" "uncertainty" "merging" }}
{{ include "abdomenatlas.peer" (merge (dict "peer" .) $) }}
{{- end }}
{{- if eq .root.Values.triton.autoscaling.mode "scheduler" }}
{{- with .root.Values.triton.autoscaling }}
- {name: ATLAS_SCHEDULER_CLUSTER_DEPLOYMENT, value: {{ include "abdomenatlas.name" (dict "root" $.root "component" "triton") }}}
- {name: ATLAS_SCHEDULER_CLUSTER_MIN_PODS, value: {{ .minReplicas | quote }}}
- {name: ATLAS_SCHEDULER_CLUSTER_MAX_PODS, value: {{ .maxReplicas | quote }}}
- {name: ATLAS_SCHEDULER_CLUSTER_VOLUMES_PER_POD, value: {{ .volumesPerPod | quote }}}
- {name: ATLAS_SCHEDULER_CLUSTER_COOLDOWN_SECONDS, value: {{ .cooldownSeconds | quote }}}
{{- end }}
{{- end }}
{{- if .root.Values.training.enabled }}
- {name: ATLAS_SCHEDULER_CLUSTER_TRAINING, value: {{ include "abdomenatlas.name" (dict "root" .root "component" "training") }}}
{{- end }}
{{- end -}}

{{/* "true" for the scheduler where it scales Triton or trains; nobody else has a token of Kubernetes. */}}
{{- define "abdomenatlas.callsKubernetes" -}}
{{ and (eq .component "scheduler") (or (eq .root.Values.triton.autoscaling.mode "scheduler") .root.Values.training.enabled) }}
{{- end -}}

