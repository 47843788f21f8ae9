{{/* The values `training`, completed: a Job runs where and on what Triton does, unless told otherwise. */}}
{{- define "abdomenatlas.training.values" -}}
{{- $triton := .root.Values.triton -}}
{{- $training := deepCopy .root.Values.training -}}
{{- if not $training.image.repository -}}
{{- $_ := set $training "image" $triton.image -}}
{{- $_ := set $training.gpu "enabled" (and $triton.gpu.enabled $training.gpu.enabled) -}}
{{- end -}}
{{- range tuple "resourceName" "runtimeClassName" -}}
{{- $_ := set $training.gpu . (index $training.gpu . | default (index $triton.gpu .)) -}}
{{- end -}}
{{- range tuple "nodeSelector" "tolerations" -}}
{{- $_ := set $training . (index $training . | default (index $triton .)) -}}
{{- end -}}
{{ toYaml $training }}
{{- end -}}

{{- define "abdomenatlas.training.job" -}}
{{- $training := include "abdomenatlas.training.values" . | fromYaml -}}
{{- $encrypted := ne .root.Values.tls.mode "none" -}}
{{- $together := and $training.gpu.enabled (gt (int $training.gpu.count) 1) -}}
{{- /* torchrun, one process a GPU, which find each other on this pod's own loopback. */ -}}
{{- $torchrun := $together | ternary (printf "-m torch.distributed.run --standalone --local-addr=localhost --nproc-per-node=%d " (int $training.gpu.count)) "" -}}
apiVersion: batch/v1
kind: Job
metadata:
  labels: {{- include "abdomenatlas.labels" . | nindent 4 }}
spec:
  backoffLimit: {{ sub $training.attempts 1 }}
  activeDeadlineSeconds: {{ mul $training.maxHours 3600 }}
  ttlSecondsAfterFinished: {{ mul $training.keepHours 3600 }}
  template:
    {{- include "abdomenatlas.podMetadata" . | nindent 4 }}
    spec:
      restartPolicy: Never
      serviceAccountName: {{ include "abdomenatlas.name" . }}
      automountServiceAccountToken: false
      securityContext: {{- include "abdomenatlas.podSecurity" .root | nindent 8 }}
      {{- if and $training.gpu.enabled $training.gpu.runtimeClassName }}
      runtimeClassName: {{ $training.gpu.runtimeClassName }}
      {{- end }}
      {{- include "abdomenatlas.placement" (merge (dict "values" $training) .) | nindent 6 }}
      {{- include "abdomenatlas.spread" . | nindent 6 }}
      initContainers:
        - name: models
          {{- include (printf "abdomenatlas.triton.from.%s" .root.Values.triton.models.source) .root | nindent 10 }}
          imagePullPolicy: {{ .root.Values.global.imagePullPolicy }}
          securityContext: {{- include "abdomenatlas.containerSecurity" .root | nindent 12 }}
          resources:
            requests: {cpu: 100m, memory: 128Mi}
            limits: {memory: 512Mi}
      containers:
        - name: training
          image: {{ include "abdomenatlas.image" (dict "root" .root "image" $training.image) }}
          imagePullPolicy: {{ .root.Values.global.imagePullPolicy }}
          # Train, store the model's folder with its new version, and leave what came of both for the scheduler to read.
          # Whoever names the stored folder in the values promotes the version; whoever names the old one rolls it back.
          command:
            - bash
            - -euo
            - pipefail
            - -c
            - |
              python3 {{ $torchrun }}-m services.serving.training "$@" --promote --cache /cache --cache-gib {{ $training.cacheGiB }} | tee /tmp/training.log
              { tail -n 1 /tmp/training.log; python3 -m services.serving.store "$2"; } > /dev/termination-log
            - training
          terminationMessagePolicy: FallbackToLogsOnError
          env:
            # torch and others keep caches in the home folder, and the root is read-only.
            - {name: HOME, value: /tmp}
            - {name: ATLAS_STORAGE, value: {{ include "abdomenatlas.address" (dict "root" .root "component" "storage") | quote }}}
            {{- if $encrypted }}
            - {name: ATLAS_CA, value: /etc/atlas/tls/ca.crt}
            - {name: ATLAS_CERT, value: /etc/atlas/tls/tls.crt}
            - {name: ATLAS_KEY, value: /etc/atlas/tls/tls.key}
            {{- end }}
          securityContext: {{- include "abdomenatlas.containerSecurity" .root | nindent 12 }}
          resources:
            {{- $gpu := $training.gpu.enabled | ternary (dict $training.gpu.resourceName (toString $training.gpu.count)) dict }}
            requests: {{- toYaml (merge (dict) $gpu $training.resources.requests) | nindent 14 }}
            limits: {{- toYaml (merge (dict) $gpu $training.resources.limits) | nindent 14 }}
          volumeMounts:
            - {name: repository, mountPath: /repository}
            - {name: cache, mountPath: /cache}
            - {name: tmp, mountPath: /tmp}
            {{- if $together }}
            - {name: shm, mountPath: /dev/shm}
            {{- end }}
            {{- if $encrypted }}
            - {name: tls, mountPath: /etc/atlas/tls, readOnly: true}
            {{- end }}
      volumes:
        - {name: repository, emptyDir: {sizeLimit: {{ .root.Values.triton.models.size }}}}
        - {name: tmp, emptyDir: {}}
        {{- if $together }}
        # NCCL passes gradients through it, more than the 64 MiB that a container has.
        - {name: shm, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
        {{- end }}
        - {name: cache, persistentVolumeClaim: {claimName: {{ $training.cache.existingClaim | default (include "abdomenatlas.name" .) }}}}
        {{- if $encrypted }}
        # It calls storage as inference, whose models these are.
        - {name: tls, secret: {secretName: {{ include "abdomenatlas.certificate" (dict "root" .root "component" "inference") }}, defaultMode: 0440}}
        {{- end }}
{{- end -}}
