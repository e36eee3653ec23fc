{{- define "halftone.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "halftone.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "halftone.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "halftone.image" -}}
{{- with .Values.image -}}
{{- $repository := .repository -}}
{{- /* The first part of a reference is a registry if it has a dot or a port, as container runtimes read it. */}}
{{- with dig "imageRegistry" "" ($.Values.global | default dict) -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $repository "") -}}
{{- end -}}
{{- if .digest -}}{{ $repository }}@{{ .digest }}{{- else -}}{{ $repository }}:{{ default $.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "halftone.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/part-of: halftone
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "halftone.operator.selector" -}}
app.kubernetes.io/name: halftone-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of a list of maps, each of which goes over those before it. */}}
{{- define "halftone.layered" -}}
{{- $labels := dict -}}
{{- range . -}}
{{- include "halftone.overlay" (list $labels (. | default dict)) -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{- define "halftone.test.selector" -}}
app.kubernetes.io/name: halftone-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of one fleet: (dict "root" $ "class" CLASS). The operator finds its proxies by the same labels. */}}
{{- define "halftone.proxy.selector" -}}
app.kubernetes.io/name: halftone-proxy
app.kubernetes.io/instance: {{ .root.Release.Name }}
halftone.dev/class: {{ .class }}
{{- end -}}

{{- define "halftone.proxy.name" -}}
{{ include "halftone.fullname" .root }}-proxy-{{ .class }}
{{- end -}}

{{- define "halftone.operator.account" -}}
{{- with .Values.serviceAccounts.operator -}}
{{- default (ternary (printf "%s-operator" (include "halftone.fullname" $)) "default" .create) .name -}}
{{- end -}}
{{- end -}}

{{- define "halftone.proxy.account" -}}
{{- with .Values.serviceAccounts.proxy -}}
{{- default (ternary (printf "%s-proxy" (include "halftone.fullname" $)) "default" .create) .name -}}
{{- end -}}
{{- end -}}

{{/* Sets in the first what the second says, maps key by key. Sprig's merges leave out false, 0 and "". */}}
{{- define "halftone.overlay" -}}
{{- $base := index . 0 -}}
{{- range $key, $value := index . 1 -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $base $key)) -}}
{{- include "halftone.overlay" (list (get $base $key) $value) -}}
{{- else -}}
{{- $_ := set $base $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The fleets with their defaults, as {fleets: […]}. */}}
{{- define "halftone.fleets" -}}
{{- $fleets := list -}}
{{- $seen := dict -}}
{{- range .Values.fleets -}}
{{- if hasKey $seen .class -}}
{{- fail (printf "fleets: class %s is declared twice; give each fleet a class of its own" .class) -}}
{{- end -}}
{{- $_ := set $seen .class true -}}
{{- $fleet := deepCopy $.Values.fleetDefaults -}}
{{- include "halftone.overlay" (list $fleet .) -}}
{{- if and (not $fleet.allowAll) (not $fleet.allowed) -}}
{{- fail (printf "fleets: nobody may use class %s; set allowed (who may claim which hosts) or allowAll: true" .class) -}}
{{- end -}}
{{- $fleets = append $fleets $fleet -}}
{{- end -}}
{{- dict "fleets" $fleets | toYaml -}}
{{- end -}}

{{- define "halftone.token.secret" -}}
{{- default (printf "%s-token" (include "halftone.proxy.name" (dict "root" .root "class" .fleet.class))) .fleet.token.existingSecret -}}
{{- end -}}

{{- define "halftone.pod.security" -}}
runAsNonRoot: true
{{- /* OpenShift gives each namespace a range of ids and refuses pods that ask for others. */}}
{{- if not (.Capabilities.APIVersions.Has "security.openshift.io/v1") }}
{{- with .Values.podSecurity.id }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
fsGroup: {{ int64 . }}
{{- end }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* The secrets for pulling the image: global.imagePullSecrets and those of the chart. */}}
{{- define "halftone.pull.secrets" -}}
{{- $secrets := list -}}
{{- range concat (dig "imagePullSecrets" list (.Values.global | default dict)) .Values.imagePullSecrets -}}
{{- $name := . -}}
{{- if kindIs "map" . -}}{{- $name = .name -}}{{- end -}}
{{- if not (has (dict "name" $name) $secrets) -}}{{- $secrets = append $secrets (dict "name" $name) -}}{{- end -}}
{{- end -}}
{{- with $secrets -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{- define "halftone.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* (dict "spread" SPREAD "selector" YAML) */}}
{{- define "halftone.spread" -}}
{{- $selector := .selector -}}
{{- if kindIs "slice" .spread -}}
{{- toYaml .spread -}}
{{- else -}}
{{- range $where, $key := dict "nodes" "kubernetes.io/hostname" "zones" "topology.kubernetes.io/zone" -}}
{{- with get $.spread $where }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: {{ . }}
  labelSelector:
    matchLabels:
      {{- $selector | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where the pods may run: (the operator's or a fleet's values). */}}
{{- define "halftone.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
