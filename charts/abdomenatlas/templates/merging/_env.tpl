{{- define "abdomenatlas.merging.env" -}}
{{ include "abdomenatlas.peer" (merge (dict "peer" "storage") .) }}
{{- end -}}
