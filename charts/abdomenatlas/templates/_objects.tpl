{{/* The objects that every component has beside its pods. */}}

{{- define "abdomenatlas.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
{{ include "abdomenatlas.metadata" . }}
automountServiceAccountToken: false
{{- end -}}

{{/* Headless: clients see all pods. */}}
{{- define "abdomenatlas.headless" -}}
apiVersion: v1
kind: Service
{{ include "abdomenatlas.metadata" . }}
spec:
  clusterIP: None
  selector: {{- include "abdomenatlas.selector" . | nindent 4 }}
  ports:
    {{- range $name, $port := include "abdomenatlas.ports" . | fromYaml | dig .component dict }}
    {{- if ne $name "health" }}
    - {name: {{ $name }}, port: {{ $port }}, targetPort: {{ $name }}}
    {{- end }}
    {{- end }}
{{- end -}}

{{- define "abdomenatlas.disruptionBudget" -}}
{{- $values := index .root.Values .component -}}
{{- $scaled := ne (dig "autoscaling" "mode" "none" $values) "none" -}}
{{- $most := $scaled | ternary (dig "autoscaling" "maxReplicas" 0 $values) $values.replicas -}}
{{- if gt (int $most) 1 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
{{ include "abdomenatlas.metadata" . }}
spec:
  maxUnavailable: {{ $values.maxUnavailable }}
  selector:
    matchLabels: {{- include "abdomenatlas.selector" . | nindent 6 }}
{{- end -}}
{{- end -}}

{{- define "abdomenatlas.claim" -}}
{{- $persistence := (index .root.Values .component).persistence -}}
{{- if and (include "abdomenatlas.disk" .) (not $persistence.existingClaim) -}}
apiVersion: v1
kind: PersistentVolumeClaim
{{ include "abdomenatlas.metadata" (merge (dict "annotations" (dict "helm.sh/resource-policy" "keep")) .) }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with $persistence.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests: {storage: {{ $persistence.size }}}
{{- end -}}
{{- end -}}
