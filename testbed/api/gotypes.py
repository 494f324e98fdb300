"""What Kubernetes' Go types say and its OpenAPI document doesn't.

A field behind a pointer keeps its zero value when it is set; another field's zero value is the same
as no field. A struct that is not behind a pointer is always there. Enumerations have types of their
own, whose names stand in decoding errors. Source: k8s.io/api */v1/types.go.
"""

from __future__ import annotations


def _table(text: str) -> frozenset[tuple[str, str]]:
    """`Struct: field field` lines as (struct, field) pairs; struct is `group.Name`."""
    pairs = set()
    for line in text.split("\n"):
        struct, _, fields = line.strip().partition(":")
        pairs |= {(struct, name) for name in fields.split()}
    return frozenset(pairs)


#: Optional scalars behind a pointer.
POINTERS = _table("""
    apps.DaemonSetSpec: revisionHistoryLimit
    apps.DaemonSetStatus: collisionCount
    apps.DeploymentSpec: progressDeadlineSeconds replicas revisionHistoryLimit
    apps.DeploymentStatus: collisionCount terminatingReplicas
    apps.ReplicaSetSpec: replicas
    apps.ReplicaSetStatus: terminatingReplicas
    apps.RollingUpdateDaemonSet: maxSurge maxUnavailable
    apps.RollingUpdateDeployment: maxSurge maxUnavailable
    apps.RollingUpdateStatefulSetStrategy: maxUnavailable partition
    apps.StatefulSetSpec: replicas revisionHistoryLimit
    apps.StatefulSetStatus: collisionCount
    coordination.LeaseSpec: acquireTime holderIdentity leaseDurationSeconds leaseTransitions
    coordination.LeaseSpec: preferredHolder renewTime strategy
    core.AppArmorProfile: localhostProfile
    core.AzureDiskVolumeSource: cachingMode fsType kind readOnly
    core.CSIVolumeSource: fsType readOnly
    core.ClientIPConfig: timeoutSeconds
    core.ClusterTrustBundleProjection: name optional signerName
    core.ConfigMap: immutable
    core.ConfigMapEnvSource: optional
    core.ConfigMapKeySelector: optional
    core.ConfigMapProjection: optional
    core.ConfigMapVolumeSource: defaultMode optional
    core.Container: restartPolicy
    core.ContainerStatus: started stopSignal
    core.DownwardAPIVolumeFile: mode
    core.DownwardAPIVolumeSource: defaultMode
    core.EmptyDirVolumeSource: sizeLimit
    core.EndpointAddress: nodeName
    core.EndpointPort: appProtocol
    core.EphemeralContainer: restartPolicy
    core.FCVolumeSource: lun
    core.FileKeySelector: optional
    core.GRPCAction: service
    core.HostPathVolumeSource: type
    core.ISCSIVolumeSource: initiatorName
    core.KeyToPath: mode
    core.Lifecycle: stopSignal
    core.LoadBalancerIngress: ipMode
    core.NodeFeatures: supplementalGroupsPolicy
    core.NodeRuntimeHandlerFeatures: recursiveReadOnlyMounts userNamespaces
    core.NodeSwapStatus: capacity
    core.PersistentVolumeClaimSpec: storageClassName volumeAttributesClassName volumeMode
    core.PersistentVolumeClaimStatus: currentVolumeAttributesClassName
    core.PodCertificateProjection: maxExpirationSeconds
    core.PodDNSConfigOption: value
    core.PodResourceClaim: resourceClaimName resourceClaimTemplateName
    core.PodResourceClaimStatus: resourceClaimName
    core.PodSchedulingGroup: podGroupName
    core.PodSecurityContext: fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser
    core.PodSecurityContext: seLinuxChangePolicy supplementalGroupsPolicy
    core.PodSpec: activeDeadlineSeconds automountServiceAccountToken enableServiceLinks hostUsers
    core.PodSpec: hostnameOverride preemptionPolicy priority runtimeClassName setHostnameAsFQDN
    core.PodSpec: shareProcessNamespace terminationGracePeriodSeconds
    core.PodStatus: startTime
    core.PortStatus: error
    core.Probe: terminationGracePeriodSeconds
    core.ProjectedVolumeSource: defaultMode
    core.ResourceHealth: message
    core.SeccompProfile: localhostProfile
    core.Secret: immutable
    core.SecretEnvSource: optional
    core.SecretKeySelector: optional
    core.SecretProjection: optional
    core.SecretVolumeSource: defaultMode optional
    core.SecurityContext: allowPrivilegeEscalation privileged procMount readOnlyRootFilesystem
    core.SecurityContext: runAsGroup runAsNonRoot runAsUser
    core.ServiceAccount: automountServiceAccountToken
    core.ServiceAccountTokenProjection: expirationSeconds
    core.ServicePort: appProtocol
    core.ServiceSpec: allocateLoadBalancerNodePorts internalTrafficPolicy ipFamilyPolicy
    core.ServiceSpec: loadBalancerClass trafficDistribution
    core.Toleration: tolerationSeconds
    core.TopologySpreadConstraint: minDomains nodeAffinityPolicy nodeTaintsPolicy
    core.TypedLocalObjectReference: apiGroup
    core.TypedObjectReference: apiGroup namespace
    core.VolumeMount: mountPropagation recursiveReadOnly
    core.VolumeMountStatus: recursiveReadOnly
    core.WindowsSecurityContextOptions: gmsaCredentialSpec gmsaCredentialSpecName hostProcess
    core.WindowsSecurityContextOptions: runAsUserName
    discovery.Endpoint: hostname nodeName zone
    discovery.EndpointConditions: ready serving terminating
    discovery.EndpointPort: appProtocol name port protocol
    meta.DeleteOptions: gracePeriodSeconds ignoreStoreReadErrorWithClusterBreakingPotential
    meta.DeleteOptions: orphanDependents propagationPolicy
    meta.ObjectMeta: deletionGracePeriodSeconds deletionTimestamp
    meta.OwnerReference: blockOwnerDeletion controller
    meta.Preconditions: resourceVersion uid
    networking.HTTPIngressPath: pathType
    networking.IngressClassParametersReference: apiGroup namespace scope
    networking.IngressPortStatus: error
    networking.IngressSpec: ingressClassName
""")

#: Structs that are not behind a pointer: always in the object, if only as `{}`.
EMBEDDED = _table("""
    apps.DaemonSet: spec status
    apps.DaemonSetSpec: template updateStrategy
    apps.Deployment: spec status
    apps.DeploymentSpec: strategy template
    apps.ReplicaSet: spec status
    apps.ReplicaSetSpec: template
    apps.StatefulSet: spec status
    apps.StatefulSetSpec: template updateStrategy
    autoscaling.Scale: spec status
    coordination.Lease: spec
    core.Container: resources
    core.ContainerStatus: lastState state
    core.EphemeralContainer: resources
    core.Event: involvedObject source
    core.Namespace: spec status
    core.Node: spec status
    core.NodeDaemonEndpoints: kubeletEndpoint
    core.NodeStatus: daemonEndpoints nodeInfo
    core.PersistentVolumeClaim: metadata spec status
    core.PersistentVolumeClaimSpec: resources
    core.PersistentVolumeClaimTemplate: metadata spec
    core.Pod: spec status
    core.PodTemplate: template
    core.PodTemplateSpec: metadata spec
    core.Service: spec status
    core.ServiceStatus: loadBalancer
    discovery.Endpoint: conditions
    events.Event: deprecatedSource regarding
    networking.HTTPIngressPath: backend
    networking.IPAddress: spec
    networking.Ingress: spec status
    networking.IngressClass: spec
    networking.IngressServiceBackend: port
    networking.IngressStatus: loadBalancer
    networking.ServiceCIDR: spec status
""")

#: Optional lists without `omitempty`, and times, which `omitempty` doesn't drop because they are
#: structs: null where there is nothing.
NULLABLE = _table("""
    apps.DaemonSetCondition: lastTransitionTime
    apps.DeploymentCondition: lastTransitionTime lastUpdateTime
    apps.ReplicaSetCondition: lastTransitionTime
    apps.StatefulSetCondition: lastTransitionTime
    core.ContainerImage: names
    core.ContainerStateRunning: startedAt
    core.ContainerStateTerminated: finishedAt startedAt
    core.Event: eventTime firstTimestamp lastTimestamp
    core.EventSeries: lastObservedTime
    core.NamespaceCondition: lastTransitionTime
    core.NodeCondition: lastHeartbeatTime lastTransitionTime
    core.PersistentVolumeClaimCondition: lastProbeTime lastTransitionTime
    core.PodCondition: lastProbeTime lastTransitionTime
    core.ProjectedVolumeSource: sources
    discovery.EndpointSlice: endpoints ports
    networking.HTTPIngressRuleValue: paths
""")

#: Optional scalars without `omitempty`: always there, null behind a pointer.
ZEROES = _table("""
    apps.StatefulSetOrdinals: start
    apps.StatefulSetSpec: serviceName
    apps.StatefulSetStatus: availableReplicas
    core.Event: reportingComponent reportingInstance
    core.NodeRuntimeHandler: name
    core.TypedLocalObjectReference: apiGroup
    core.TypedObjectReference: apiGroup
""")

#: Named string types: (struct, field) -> Go type. For a list, the type of its items.
NAMED = {
    ("apps.DaemonSetUpdateStrategy", "type"): "v1.DaemonSetUpdateStrategyType",
    ("apps.DeploymentStrategy", "type"): "v1.DeploymentStrategyType",
    ("apps.StatefulSetSpec", "podManagementPolicy"): "v1.PodManagementPolicyType",
    ("apps.StatefulSetUpdateStrategy", "type"): "v1.StatefulSetUpdateStrategyType",
    ("core.Container", "imagePullPolicy"): "v1.PullPolicy",
    ("core.Container", "restartPolicy"): "v1.ContainerRestartPolicy",
    ("core.Container", "terminationMessagePolicy"): "v1.TerminationMessagePolicy",
    ("core.ContainerPort", "protocol"): "v1.Protocol",
    ("core.EmptyDirVolumeSource", "medium"): "v1.StorageMedium",
    ("core.EndpointPort", "protocol"): "v1.Protocol",
    ("core.HTTPGetAction", "scheme"): "v1.URIScheme",
    ("core.HostPathVolumeSource", "type"): "v1.HostPathType",
    ("core.LoadBalancerIngress", "ipMode"): "v1.LoadBalancerIPMode",
    ("core.NamespaceSpec", "finalizers"): "v1.FinalizerName",
    ("core.NamespaceStatus", "phase"): "v1.NamespacePhase",
    ("core.NodeAddress", "type"): "v1.NodeAddressType",
    ("core.NodeCondition", "status"): "v1.ConditionStatus",
    ("core.NodeCondition", "type"): "v1.NodeConditionType",
    ("core.NodeSelectorRequirement", "operator"): "v1.NodeSelectorOperator",
    ("core.ObjectReference", "uid"): "types.UID",
    ("core.PodCondition", "status"): "v1.ConditionStatus",
    ("core.PodCondition", "type"): "v1.PodConditionType",
    ("core.PodReadinessGate", "conditionType"): "v1.PodConditionType",
    ("core.PodSpec", "dnsPolicy"): "v1.DNSPolicy",
    ("core.PodSpec", "preemptionPolicy"): "v1.PreemptionPolicy",
    ("core.PodSpec", "restartPolicy"): "v1.RestartPolicy",
    ("core.PodStatus", "phase"): "v1.PodPhase",
    ("core.PodStatus", "qosClass"): "v1.PodQOSClass",
    ("core.PortStatus", "protocol"): "v1.Protocol",
    ("core.Secret", "type"): "v1.SecretType",
    ("core.ServicePort", "protocol"): "v1.Protocol",
    ("core.ServiceSpec", "externalTrafficPolicy"): "v1.ServiceExternalTrafficPolicy",
    ("core.ServiceSpec", "internalTrafficPolicy"): "v1.ServiceInternalTrafficPolicy",
    ("core.ServiceSpec", "ipFamilies"): "v1.IPFamily",
    ("core.ServiceSpec", "ipFamilyPolicy"): "v1.IPFamilyPolicy",
    ("core.ServiceSpec", "sessionAffinity"): "v1.ServiceAffinity",
    ("core.ServiceSpec", "type"): "v1.ServiceType",
    ("core.Taint", "effect"): "v1.TaintEffect",
    ("core.Toleration", "effect"): "v1.TaintEffect",
    ("core.Toleration", "operator"): "v1.TolerationOperator",
    ("core.TopologySpreadConstraint", "whenUnsatisfiable"): "v1.UnsatisfiableConstraintAction",
    ("core.VolumeMount", "mountPropagation"): "v1.MountPropagationMode",
    ("discovery.EndpointPort", "protocol"): "v1.Protocol",
    ("discovery.EndpointSlice", "addressType"): "v1.AddressType",
    ("meta.Condition", "status"): "v1.ConditionStatus",
    ("meta.LabelSelectorRequirement", "operator"): "v1.LabelSelectorOperator",
    ("meta.ObjectMeta", "uid"): "types.UID",
    ("meta.OwnerReference", "uid"): "types.UID",
    ("networking.HTTPIngressPath", "pathType"): "v1.PathType",
    ("networking.IngressPortStatus", "protocol"): "v1.Protocol",
}

#: Maps whose Go type has a name of its own.
NAMED_MAPS = {
    ("core.NodeStatus", "allocatable"): "v1.ResourceList",
    ("core.NodeStatus", "capacity"): "v1.ResourceList",
    ("core.PodSpec", "overhead"): "v1.ResourceList",
    ("core.ResourceRequirements", "limits"): "v1.ResourceList",
    ("core.ResourceRequirements", "requests"): "v1.ResourceList",
}
