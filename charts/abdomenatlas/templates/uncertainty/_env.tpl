{{- define "abdomenatlas.uncertainty.env" -}}
{{ include "abdomenatlas.peer" (merge (dict "peer" "storage") .) }}
{{- end -}}
