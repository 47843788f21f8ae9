{{/* Groups of alerts, as Prometheus reads them. Braces of Prometheus' own templates stand in backquotes. */}}
{{- define "abdomenatlas.alerts" -}}
{{- $alerts := .Values.metrics.alerts -}}
{{- $here := printf "namespace=%q" .Release.Namespace -}}
groups:
  - name: abdomenatlas
    rules:
      - alert: AtlasServiceDown
        # A component whose pods are all gone has no `up` any more, so that it is missing counts as 0.
        expr: >-
          max by (app_kubernetes_io_component) (up{ {{- $here }}, app_kubernetes_io_component=~"storage|inference|uncertainty|merging|scheduler"}
          {{- range tuple "storage" "inference" "uncertainty" "merging" "scheduler" }}
          or absent(up{ {{- $here }}, app_kubernetes_io_component="{{ . }}"}) - 1
          {{- end }}) < 1
        for: 5m
        labels: {severity: critical}
        annotations:
          summary: {{ `No pod of {{ $labels.app_kubernetes_io_component }} answers.` | quote }}
          action: kubectl describe its pods, then read their logs; docs/operate.md, "When something is wrong".
      - alert: AtlasCallsFail
        expr: >-
          sum by (app_kubernetes_io_component) (rate(atlas_rpc_calls_total{ {{- $here }}, reason=~"INTERNAL|DEPENDENCY_UNAVAILABLE|DEADLINE_EXCEEDED|DIGEST_MISMATCH|ARRAY_FILE_CORRUPT|MODEL_ANSWER_INVALID"}[15m]))
          / sum by (app_kubernetes_io_component) (rate(atlas_rpc_calls_total{ {{- $here }}}[15m])) > {{ $alerts.errorRatio }}
        for: 15m
        labels: {severity: warning}
        annotations:
          summary: {{ `Of the calls of {{ $labels.app_kubernetes_io_component }} {{ $value | humanizePercentage }} fail.` | quote }}
          action: Its log lines with "reason" say which method and why.
      - alert: AtlasBacklogStalled
        expr: >-
          max(atlas_scheduler_backlog_volumes{ {{- $here }}}) > 0
          and on () (sum(increase(atlas_rpc_calls_total{ {{- $here }}, method="MergingService/Merge", reason="OK"}[{{ $alerts.stalledMinutes }}m])) or vector(0)) == 0
        for: {{ $alerts.stalledMinutes }}m
        labels: {severity: critical}
        annotations:
          summary: {{ printf "Volumes wait, and in %d minutes none was done." (int $alerts.stalledMinutes) }}
          action: Is Triton running and has it a GPU? See the events of the campaign with `atlas campaign watch`.
      - alert: AtlasScalingFails
        expr: sum(increase(atlas_scheduler_scaling_failures_total{ {{- $here }}}[5m])) > 0
        for: 15m
        labels: {severity: warning}
        annotations:
          summary: For 15 minutes the scheduler has not been able to set the number of Triton pods.
          action: Its log lines "pods are not scaled" say why; docs/operate.md, "When something is wrong".
      - alert: AtlasReviewsWait
        expr: max(atlas_scheduler_oldest_open_review_seconds{ {{- $here }}}) > {{ mul $alerts.reviewAgeHours 3600 }}
        for: 30m
        labels: {severity: warning}
        annotations:
          summary: {{ `The oldest free review has waited {{ $value | humanizeDuration }}.` | quote }}
          action: Find somebody to review, or take fewer (docs, review share).
{{- end -}}
