{{- define "abdomenatlas.scheduler.env" -}}
{{ include "abdomenatlas.databaseEnvironment" . }}
# The pod's name is the same after a restart, and with it the work that was in flight.
- name: ATLAS_SCHEDULER_EXECUTOR_ID
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
{{- range tuple "storage" "inference" "uncertainty" "merging" }}
{{ include "abdomenatlas.peer" (merge (dict "peer" .) $) }}
{{- end }}
{{- end -}}

