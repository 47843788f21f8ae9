{{/* Copies each model (name=digest) from the image to the pod and refuses what is not the digest's. Plain sh, so that
any image with a folder /models will do. */}}
{{- define "abdomenatlas.triton.fetch" -}}
for model in "$@"; do
  name=${model%%=*}
  rm -rf "/repository/$name"
  cp -r "/models/$name" /repository/
  found=$(cd "/repository/$name" && find . -name __pycache__ -prune -o -type f -exec sha256sum {} + | LC_ALL=C sort -k 2 | sha256sum)
  if [ "${found%% *}" != "${model#*=}" ]; then
    echo "The model $name has the digest ${found%% *}, not ${model#*=}." >&2
    exit 1
  fi
done
{{- end -}}

{{/* The init container that takes the models from an image. */}}
{{- define "abdomenatlas.triton.from.image" -}}
{{- $models := .Values.triton.models -}}
image: {{ include "abdomenatlas.image" (dict "root" . "image" $models.image) }}
command:
  - sh
  - -euc
  - | {{- include "abdomenatlas.triton.fetch" . | nindent 4 }}
  - models
  {{- range $models.load }}
  - {{ .name }}={{ .sha256 }}
  {{- end }}
volumeMounts:
  - {name: repository, mountPath: /repository}
{{- end -}}

{{/* The init container that takes them from storage. It shows inference's certificate, whose models these are; Triton's
own container does not get it. */}}
{{- define "abdomenatlas.triton.from.storage" -}}
{{- $triton := .Values.triton -}}
image: {{ include "abdomenatlas.image" (dict "root" . "image" $triton.image) }}
command:
  - python3
  - -m
  - services.serving.fetch
  - /repository
  {{- range $triton.models.load }}
  - {{ .name }}={{ .sha256 }}
  {{- end }}
env:
  - {name: ATLAS_STORAGE, value: {{ include "abdomenatlas.address" (dict "root" . "component" "storage") | quote }}}
  {{- if eq (include "abdomenatlas.triton.showsCertificate" .) "true" }}
  - {name: ATLAS_CA, value: /etc/atlas/tls/ca.crt}
  - {name: ATLAS_CERT, value: /etc/atlas/tls/tls.crt}
  - {name: ATLAS_KEY, value: /etc/atlas/tls/tls.key}
  {{- end }}
volumeMounts:
  - {name: repository, mountPath: /repository}
  - {name: tmp, mountPath: /tmp}
  {{- if eq (include "abdomenatlas.triton.showsCertificate" .) "true" }}
  - {name: tls, mountPath: /etc/atlas/tls, readOnly: true}
  {{- end }}
{{- end -}}

{{- define "abdomenatlas.triton.showsCertificate" -}}
{{ and (eq .Values.triton.models.source "storage") (ne .Values.tls.mode "none") }}
{{- end -}}
