{{- define "musicgen.image" -}}
{{ .repository }}
{{- with .tag }}:{{ . }}{{ end }}
{{- with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- define "musicgen.node" -}}
{{- with .Values.worker.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- define "musicgen.pull" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- define "musicgen.bucket" -}}
{{- if .Values.bucket.enabled }}
- name: MUSICGEN_BUCKET
  valueFrom:
    secretKeyRef:
      name: {{ .Values.bucket.secret }}
      key: name
- name: MUSICGEN_BUCKET_REGION
  valueFrom:
    secretKeyRef:
      name: {{ .Values.bucket.secret }}
      key: region
      optional: true
- name: MUSICGEN_BUCKET_ENDPOINT_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.bucket.secret }}
      key: endpoint-url
      optional: true
- name: MUSICGEN_BUCKET_PUBLIC_ENDPOINT_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.bucket.secret }}
      key: public-endpoint-url
      optional: true
- name: MUSICGEN_BUCKET_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .Values.bucket.secret }}
      key: access-key-id
      optional: true
- name: MUSICGEN_BUCKET_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.bucket.secret }}
      key: secret-access-key
      optional: true
{{- end }}
{{- end }}
