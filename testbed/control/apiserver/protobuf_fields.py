"""Field numbers of the messages that clients send as protobuf, by `group.Message`.

One line a message: its fields in the order of their numbers from 1; a number in front of a field
goes on from there. Source: generated.proto of k8s.io/api and k8s.io/apimachinery.
"""

from __future__ import annotations

_TABLE = """
meta.ObjectMeta: name generateName namespace selfLink uid resourceVersion generation
  creationTimestamp deletionTimestamp deletionGracePeriodSeconds labels annotations
  ownerReferences finalizers 17 managedFields
meta.OwnerReference: kind 3 name uid apiVersion controller blockOwnerDeletion
meta.LabelSelector: matchLabels matchExpressions
meta.LabelSelectorRequirement: key operator values
meta.DeleteOptions: gracePeriodSeconds preconditions orphanDependents propagationPolicy dryRun
meta.Preconditions: uid resourceVersion
core.Namespace: metadata spec status
core.NamespaceSpec: finalizers
core.NamespaceStatus: phase conditions
core.ConfigMap: metadata data binaryData immutable
core.Secret: metadata data type stringData immutable
core.ServiceAccount: metadata secrets imagePullSecrets automountServiceAccountToken
core.LocalObjectReference: name
core.ObjectReference: kind namespace name uid apiVersion resourceVersion fieldPath
core.Service: metadata spec status
core.ServiceSpec: ports selector clusterIP type externalIPs 7 sessionAffinity loadBalancerIP
  loadBalancerSourceRanges externalName externalTrafficPolicy healthCheckNodePort
  publishNotReadyAddresses sessionAffinityConfig 17 ipFamilyPolicy clusterIPs ipFamilies
  allocateLoadBalancerNodePorts loadBalancerClass internalTrafficPolicy trafficDistribution
core.ServicePort: name protocol port targetPort nodePort appProtocol
core.SessionAffinityConfig: clientIP
core.ClientIPConfig: timeoutSeconds
core.ServiceStatus: loadBalancer conditions
core.LoadBalancerStatus: ingress
core.LoadBalancerIngress: ip hostname ipMode ports
core.PortStatus: port protocol error
meta.Condition: type status observedGeneration lastTransitionTime reason message
core.Endpoints: metadata subsets
core.EndpointSubset: addresses notReadyAddresses ports
core.EndpointAddress: ip targetRef hostname nodeName
core.EndpointPort: name port protocol appProtocol
core.Pod: metadata spec status
core.PodTemplateSpec: metadata spec
core.PodSpec: 2 containers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds
  dnsPolicy nodeSelector serviceAccountName serviceAccount nodeName hostNetwork hostPID hostIPC
  securityContext imagePullSecrets hostname subdomain 19 schedulerName initContainers
  automountServiceAccountToken tolerations hostAliases priorityClassName priority dnsConfig
  shareProcessNamespace readinessGates runtimeClassName enableServiceLinks preemptionPolicy
  overhead 35 setHostnameAsFQDN 37 hostUsers
core.PodSecurityContext: 2 runAsUser runAsNonRoot supplementalGroups fsGroup runAsGroup
core.Container: name image command args workingDir ports env resources 13 terminationMessagePath
  imagePullPolicy 16 stdin stdinOnce tty 20 terminationMessagePolicy 24 restartPolicy
core.ContainerPort: name hostPort containerPort protocol hostIP
core.EnvVar: name value
core.ResourceRequirements: limits requests
core.Toleration: key operator value effect tolerationSeconds
core.HostAlias: ip hostnames
core.PodDNSConfig: nameservers searches options
core.PodDNSConfigOption: name value
core.PodReadinessGate: conditionType
core.PodStatus: phase conditions message reason hostIP podIP startTime 9 qosClass
core.Event: metadata involvedObject reason message source firstTimestamp lastTimestamp count type
  eventTime series action related reportingComponent reportingInstance
core.EventSource: component host
core.EventSeries: count lastObservedTime
events.Event: metadata eventTime series reportingController reportingInstance action reason
  regarding related note type deprecatedSource deprecatedFirstTimestamp deprecatedLastTimestamp
  deprecatedCount
events.EventSeries: count lastObservedTime
apps.Deployment: metadata spec status
apps.DeploymentSpec: replicas selector template strategy minReadySeconds revisionHistoryLimit
  paused 9 progressDeadlineSeconds
apps.DeploymentStrategy: type rollingUpdate
apps.RollingUpdateDeployment: maxUnavailable maxSurge
apps.DeploymentStatus: observedGeneration replicas updatedReplicas availableReplicas
  unavailableReplicas 7 readyReplicas collisionCount terminatingReplicas
authorization.SelfSubjectAccessReview: metadata spec status
authorization.SelfSubjectAccessReviewSpec: resourceAttributes nonResourceAttributes
authorization.ResourceAttributes: namespace verb group version resource subresource name
authorization.NonResourceAttributes: path verb
authorization.SubjectAccessReviewStatus: allowed reason evaluationError denied
authorization.SelfSubjectRulesReview: metadata spec status
authorization.SelfSubjectRulesReviewSpec: namespace
authorization.SubjectRulesReviewStatus: resourceRules nonResourceRules incomplete evaluationError
authentication.SelfSubjectReview: metadata status
authentication.SelfSubjectReviewStatus: userInfo
authentication.UserInfo: username uid groups extra
coordination.Lease: metadata spec
coordination.LeaseSpec: holderIdentity leaseDurationSeconds acquireTime renewTime leaseTransitions
  strategy preferredHolder
discovery.EndpointSlice: metadata endpoints ports addressType
discovery.Endpoint: addresses conditions hostname targetRef deprecatedTopology nodeName zone hints
discovery.EndpointConditions: ready serving terminating
discovery.EndpointPort: name protocol port appProtocol
discovery.EndpointHints: forZones forNodes
discovery.ForZone: name
discovery.ForNode: name
networking.Ingress: metadata spec status
networking.IngressSpec: defaultBackend tls rules ingressClassName
networking.IngressTLS: hosts secretName
networking.IngressRule: host ingressRuleValue
networking.HTTPIngressRuleValue: paths
networking.HTTPIngressPath: path backend pathType
networking.IngressBackend: 3 resource service
networking.IngressServiceBackend: name port
networking.ServiceBackendPort: name number
core.TypedLocalObjectReference: apiGroup kind name
networking.IngressStatus: loadBalancer
networking.IngressLoadBalancerStatus: ingress
"""

#: Messages whose fields stand among the outer object's own in JSON, by (message, field).
INLINE: dict[tuple[str, str], dict[int, str]] = {
    ("networking.IngressRule", "ingressRuleValue"): {1: "http"}
}


def _read(table: str) -> dict[str, dict[int, str]]:
    fields: dict[str, dict[int, str]] = {}
    number = 0
    current: dict[int, str] = {}
    for word in table.split():
        if word.endswith(":"):
            current = fields[word[:-1]] = {}
            number = 1
        elif word.isdigit():
            number = int(word)
        else:
            current[number] = word
            number += 1
    return fields


FIELDS = _read(_TABLE)
