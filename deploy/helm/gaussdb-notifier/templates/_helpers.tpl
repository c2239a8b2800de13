{{- define "notifier.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "notifier.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "notifier.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "notifier.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "notifier.selector" -}}
app.kubernetes.io/name: {{ include "notifier.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "notifier.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "notifier.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "notifier.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s:%s@%s" .Values.image.repository $tag .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "notifier.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Makes the volume and the mounted secrets readable by the program's group.
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "notifier.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "notifier.env" -}}
{{- range $name, $key := .Values.env }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.existingSecret }}
      key: {{ $key }}
{{- end }}
{{- end -}}

{{- define "notifier.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: config, mountPath: /etc/notifier, readOnly: true}
- {name: secrets, mountPath: /etc/notifier-secrets, readOnly: true}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "notifier.volumes" -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
- name: config
  configMap:
    name: {{ include "notifier.fullname" . }}
- name: secrets
  secret:
    secretName: {{ .Values.existingSecret }}
    # Owner root, group fsGroup: only the program can read them.
    defaultMode: 0440
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "notifier.port" -}}
{{- $listen := dig "web" "listen" "" .Values.config -}}
{{- if not (hasPrefix "0.0.0.0:" $listen) -}}
{{- fail "config.web.listen: probes need 0.0.0.0:PORT, such as 0.0.0.0:8080" -}}
{{- end -}}
{{- trimPrefix "0.0.0.0:" $listen -}}
{{- end -}}

{{- define "notifier.check" -}}
{{- if not .Values.config.sources -}}
{{- fail "config: name at least one source; deploy/helm/postgres.values.yaml is an example" -}}
{{- end -}}
{{- if and .Values.persistence.enabled (gt (int .Values.replicas) 1) -}}
{{- fail "replicas: a SQLite database (persistence.enabled) is for one process; several need PostgreSQL" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host: is needed with ingress.enabled" -}}
{{- end -}}
{{- end -}}
