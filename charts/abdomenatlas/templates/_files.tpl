{{/* Secrets and ConfigMaps that a service sees as files. Whole folders, never single files: only so does a certificate
that was renewed reach a pod that runs. */}}

{{/* List of {name, kind, from} of the component's folders below /etc/atlas. */}}
{{- define "abdomenatlas.files" -}}
{{- $v := .root.Values -}}
{{- $values := index $v .component -}}
{{- if ne $v.tls.mode "none" }}
- {name: tls, kind: secret, from: {{ include "abdomenatlas.certificate" . }}}
{{- end }}
{{- with $v.auth.jwks.name }}
- {name: jwks, kind: configMap, from: {{ . }}}
{{- end }}
{{- with $v.auth.caBundle.name }}
- {name: issuer-ca, kind: configMap, from: {{ . }}}
{{- end }}
{{- with $v.metrics.token.name }}
- {name: metrics, kind: secret, from: {{ . }}}
{{- end }}
{{- if eq (dig "database" "kind" "" $values) "postgresql" }}
- {name: database, kind: secret, from: {{ (include "abdomenatlas.databaseSecret" . | fromYaml).name }}}
{{- with (include "abdomenatlas.postgresql" . | fromYaml).caBundle.name }}
- {name: postgresql-ca, kind: configMap, from: {{ . }}}
{{- end }}
{{- end }}
{{- if eq (dig "objects" "kind" "" $values) "s3" }}
{{- $s3 := include "abdomenatlas.s3" . | fromYaml }}
- {name: s3, kind: secret, from: {{ $s3.existingSecret.name }}}
{{- with $s3.caBundle.name }}
- {name: s3-ca, kind: configMap, from: {{ . }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "abdomenatlas.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- range include "abdomenatlas.files" . | fromYamlArray }}
- {name: {{ .name }}, mountPath: /etc/atlas/{{ .name }}, readOnly: true}
{{- end }}
{{- if include "abdomenatlas.disk" . }}
- {name: data, mountPath: /var/lib/atlas}
{{- end }}
{{- end -}}

{{- define "abdomenatlas.volumes" -}}
- {name: tmp, emptyDir: {}}
{{- range include "abdomenatlas.files" . | fromYamlArray }}
- name: {{ .name }}
  {{- if eq .kind "secret" }}
  secret: {secretName: {{ .from }}, defaultMode: 0440}
  {{- else }}
  configMap: {name: {{ .from }}}
  {{- end }}
{{- end }}
{{- if include "abdomenatlas.disk" . }}
- name: data
  persistentVolumeClaim:
    claimName: {{ (index .root.Values .component).persistence.existingClaim | default (include "abdomenatlas.name" .) }}
{{- end }}
{{- end -}}
