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


def _types(text: str) -> dict[tuple[str, str], str]:
    """`Struct: field=type field=type` lines."""
    typed = {}
    for struct, entry in _table(text):
        name, _, go = entry.partition("=")
        typed[struct, name] = go
    return typed


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
    core.ClientIPConfig: timeoutSeconds
    core.ClusterTrustBundleProjection: name optional signerName
    core.ConfigMap: immutable
    core.ConfigMapEnvSource: optional
    core.ConfigMapKeySelector: optional
    core.ConfigMapProjection: optional
    core.ConfigMapVolumeSource: defaultMode optional
    core.Container: restartPolicy
    core.ContainerStatus: started stopSignal
    core.CSIVolumeSource: fsType readOnly
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
    core.Taint: timeAdded
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
    meta.ManagedFieldsEntry: time
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
    apps.ControllerRevision: metadata
    apps.DaemonSet: metadata spec status
    apps.DaemonSetSpec: updateStrategy
    apps.Deployment: metadata spec status
    apps.DeploymentSpec: strategy
    apps.ReplicaSet: metadata spec status
    apps.ReplicaSetSpec: template
    apps.StatefulSet: metadata spec status
    apps.StatefulSetSpec: updateStrategy
    authentication.SelfSubjectReview: metadata status
    authentication.SelfSubjectReviewStatus: userInfo
    authentication.TokenReview: metadata status
    authentication.TokenReviewStatus: user
    authorization.LocalSubjectAccessReview: metadata status
    authorization.SelfSubjectAccessReview: metadata status
    authorization.SelfSubjectRulesReview: metadata status
    authorization.SubjectAccessReview: metadata status
    autoscaling.Scale: spec status
    coordination.Lease: metadata spec
    core.ConfigMap: metadata
    core.Container: resources
    core.ContainerStatus: lastState state
    core.Endpoints: metadata
    core.EphemeralContainer: resources
    core.Event: source
    core.Namespace: metadata spec status
    core.Node: metadata spec status
    core.NodeDaemonEndpoints: kubeletEndpoint
    core.NodeStatus: daemonEndpoints nodeInfo
    core.PersistentVolumeClaim: metadata spec status
    core.PersistentVolumeClaimSpec: resources
    core.PersistentVolumeClaimTemplate: metadata
    core.Pod: metadata spec status
    core.PodTemplate: metadata template
    core.PodTemplateSpec: metadata spec
    core.Secret: metadata
    core.Service: metadata spec status
    core.ServiceAccount: metadata
    core.ServiceStatus: loadBalancer
    discovery.Endpoint: conditions
    discovery.EndpointSlice: metadata
    events.Event: deprecatedSource metadata regarding
    networking.Ingress: metadata spec status
    networking.IngressClass: metadata spec
    networking.IngressServiceBackend: port
    networking.IngressStatus: loadBalancer
    networking.IPAddress: metadata
    networking.ServiceCIDR: metadata spec status
""")

#: Optional lists and pointers without `omitempty`, and times, which `omitempty` doesn't drop, being
#: structs: null where there is nothing.
NULLABLE = _table("""
    apps.ControllerRevision: data
    apps.DaemonSetSpec: selector
    apps.DeploymentSpec: selector
    apps.ReplicaSetSpec: selector
    apps.StatefulSetSpec: selector
    core.ScaleIOVolumeSource: secretRef
    core.TypedLocalObjectReference: apiGroup
    core.TypedObjectReference: apiGroup
    networking.HTTPIngressPath: pathType
    networking.IngressClassParametersReference: scope
    apps.DaemonSetCondition: lastTransitionTime
    apps.DeploymentCondition: lastTransitionTime lastUpdateTime
    apps.ReplicaSetCondition: lastTransitionTime
    apps.StatefulSetCondition: lastTransitionTime
    core.ContainerImage: names
    core.ContainerStateRunning: startedAt
    core.ContainerStateTerminated: finishedAt startedAt
    core.Event: eventTime firstTimestamp lastTimestamp
    core.EventSeries: lastObservedTime
    core.GRPCAction: service
    core.NamespaceCondition: lastTransitionTime
    core.NodeCondition: lastHeartbeatTime lastTransitionTime
    core.PersistentVolumeClaimCondition: lastProbeTime lastTransitionTime
    core.PodCondition: lastProbeTime lastTransitionTime
    core.ProjectedVolumeSource: sources
    discovery.EndpointSlice: endpoints ports
    events.Event: deprecatedFirstTimestamp deprecatedLastTimestamp
""")

#: Optional scalars without `omitempty`: always there, if only as their zero.
ZEROES = _table("""
    apps.StatefulSetOrdinals: start
    apps.StatefulSetSpec: serviceName
    apps.StatefulSetStatus: availableReplicas
    core.Event: reportingComponent reportingInstance
    core.NodeRuntimeHandler: name
    core.ResourceFieldSelector: divisor
    core.ServicePort: targetPort
""")

#: Fields that the OpenAPI document requires and Go doesn't: null or nothing where they aren't set.
OMITTED = _table("""
    apps.DaemonSetSpec: selector
    apps.DeploymentSpec: selector
    apps.ReplicaSetSpec: selector
    apps.StatefulSetSpec: selector
    authentication.TokenReviewSpec: token
    core.ContainerRestartRule: action
    core.ContainerRestartRuleOnExitCodes: operator
    core.ImageVolumeStatus: imageRef
    core.PodCertificateProjection: keyType signerName
    networking.IPAddressSpec: parentRef
    core.ScaleIOVolumeSource: secretRef
    networking.HTTPIngressPath: pathType
    networking.ParentReference: name resource
""")

#: Named string types: (struct, field) -> Go type. For a list, the type of its items.
NAMED = _types("""
    apps.DaemonSetCondition: status=v1.ConditionStatus type=v1.DaemonSetConditionType
    apps.DaemonSetUpdateStrategy: type=v1.DaemonSetUpdateStrategyType
    apps.DeploymentCondition: status=v1.ConditionStatus type=v1.DeploymentConditionType
    apps.DeploymentStrategy: type=v1.DeploymentStrategyType
    apps.ReplicaSetCondition: status=v1.ConditionStatus type=v1.ReplicaSetConditionType
    apps.StatefulSetCondition: status=v1.ConditionStatus type=v1.StatefulSetConditionType
    apps.StatefulSetSpec: podManagementPolicy=v1.PodManagementPolicyType
    apps.StatefulSetUpdateStrategy: type=v1.StatefulSetUpdateStrategyType
    coordination.LeaseSpec: strategy=v1.CoordinatedLeaseStrategy
    core.AppArmorProfile: type=v1.AppArmorProfileType
    core.AttachedVolume: name=v1.UniqueVolumeName
    core.AzureDiskVolumeSource: cachingMode=v1.AzureDataDiskCachingMode kind=v1.AzureDataDiskKind
    core.Capabilities: add=v1.Capability drop=v1.Capability
    core.ConfigMapNodeConfigSource: uid=types.UID
    core.Container: imagePullPolicy=v1.PullPolicy restartPolicy=v1.ContainerRestartPolicy
    core.Container: terminationMessagePolicy=v1.TerminationMessagePolicy
    core.ContainerPort: protocol=v1.Protocol
    core.ContainerResizePolicy: resourceName=v1.ResourceName
    core.ContainerResizePolicy: restartPolicy=v1.ResourceResizeRestartPolicy
    core.ContainerRestartRule: action=v1.ContainerRestartRuleAction
    core.ContainerRestartRuleOnExitCodes: operator=v1.ContainerRestartRuleOnExitCodesOperator
    core.ContainerStatus: stopSignal=v1.Signal
    core.EmptyDirVolumeSource: medium=v1.StorageMedium
    core.EndpointPort: protocol=v1.Protocol
    core.EphemeralContainer: imagePullPolicy=v1.PullPolicy restartPolicy=v1.ContainerRestartPolicy
    core.EphemeralContainer: terminationMessagePolicy=v1.TerminationMessagePolicy
    core.HostPathVolumeSource: type=v1.HostPathType
    core.HTTPGetAction: scheme=v1.URIScheme
    core.ImageVolumeSource: pullPolicy=v1.PullPolicy
    core.Lifecycle: stopSignal=v1.Signal
    core.LoadBalancerIngress: ipMode=v1.LoadBalancerIPMode
    core.ModifyVolumeStatus: status=v1.PersistentVolumeClaimModifyVolumeStatus
    core.NamespaceCondition: status=v1.ConditionStatus type=v1.NamespaceConditionType
    core.NamespaceSpec: finalizers=v1.FinalizerName
    core.NamespaceStatus: phase=v1.NamespacePhase
    core.NodeAddress: type=v1.NodeAddressType
    core.NodeCondition: status=v1.ConditionStatus type=v1.NodeConditionType
    core.NodeSelectorRequirement: operator=v1.NodeSelectorOperator
    core.NodeStatus: phase=v1.NodePhase volumesInUse=v1.UniqueVolumeName
    core.ObjectReference: uid=types.UID
    core.PersistentVolumeClaimCondition: status=v1.ConditionStatus
    core.PersistentVolumeClaimCondition: type=v1.PersistentVolumeClaimConditionType
    core.PersistentVolumeClaimSpec: accessModes=v1.PersistentVolumeAccessMode
    core.PersistentVolumeClaimSpec: volumeMode=v1.PersistentVolumeMode
    core.PersistentVolumeClaimStatus: accessModes=v1.PersistentVolumeAccessMode
    core.PersistentVolumeClaimStatus: phase=v1.PersistentVolumeClaimPhase
    core.PodCondition: status=v1.ConditionStatus type=v1.PodConditionType
    core.PodOS: name=v1.OSName
    core.PodReadinessGate: conditionType=v1.PodConditionType
    core.PodSecurityContext: fsGroupChangePolicy=v1.PodFSGroupChangePolicy
    core.PodSecurityContext: seLinuxChangePolicy=v1.PodSELinuxChangePolicy
    core.PodSecurityContext: supplementalGroupsPolicy=v1.SupplementalGroupsPolicy
    core.PodSpec: dnsPolicy=v1.DNSPolicy preemptionPolicy=v1.PreemptionPolicy
    core.PodSpec: restartPolicy=v1.RestartPolicy
    core.PodStatus: phase=v1.PodPhase qosClass=v1.PodQOSClass resize=v1.PodResizeStatus
    core.PortStatus: protocol=v1.Protocol
    core.ResourceHealth: health=v1.ResourceHealthStatus resourceID=v1.ResourceID
    core.ResourceStatus: name=v1.ResourceName
    core.SeccompProfile: type=v1.SeccompProfileType
    core.Secret: type=v1.SecretType
    core.SecurityContext: procMount=v1.ProcMountType
    core.ServicePort: protocol=v1.Protocol
    core.ServiceSpec: externalTrafficPolicy=v1.ServiceExternalTrafficPolicy
    core.ServiceSpec: internalTrafficPolicy=v1.ServiceInternalTrafficPolicy ipFamilies=v1.IPFamily
    core.ServiceSpec: ipFamilyPolicy=v1.IPFamilyPolicy sessionAffinity=v1.ServiceAffinity
    core.ServiceSpec: type=v1.ServiceType
    core.Taint: effect=v1.TaintEffect
    core.Toleration: effect=v1.TaintEffect operator=v1.TolerationOperator
    core.TopologySpreadConstraint: nodeAffinityPolicy=v1.NodeInclusionPolicy
    core.TopologySpreadConstraint: nodeTaintsPolicy=v1.NodeInclusionPolicy
    core.TopologySpreadConstraint: whenUnsatisfiable=v1.UnsatisfiableConstraintAction
    core.VolumeMount: mountPropagation=v1.MountPropagationMode
    core.VolumeMount: recursiveReadOnly=v1.RecursiveReadOnlyMode
    core.VolumeMountStatus: recursiveReadOnly=v1.RecursiveReadOnlyMode
    discovery.EndpointPort: protocol=v1.Protocol
    discovery.EndpointSlice: addressType=v1.AddressType
    meta.Condition: status=v1.ConditionStatus
    meta.DeleteOptions: propagationPolicy=v1.DeletionPropagation
    meta.FieldSelectorRequirement: operator=v1.FieldSelectorOperator
    meta.LabelSelectorRequirement: operator=v1.LabelSelectorOperator
    meta.ManagedFieldsEntry: operation=v1.ManagedFieldsOperationType
    meta.ObjectMeta: uid=types.UID
    meta.OwnerReference: uid=types.UID
    meta.Preconditions: uid=types.UID
    networking.HTTPIngressPath: pathType=v1.PathType
    networking.IngressPortStatus: protocol=v1.Protocol
""")

_RETENTION = "apps.StatefulSetPersistentVolumeClaimRetentionPolicy"
NAMED |= {
    (_RETENTION, field): "v1.PersistentVolumeClaimRetentionPolicyType"
    for field in ("whenDeleted", "whenScaled")
}

#: Maps whose Go type has a name of its own, or names for keys or values.
NAMED_MAPS = {
    ("authentication.UserInfo", "extra"): "map[string]v1.ExtraValue",
    ("authorization.SubjectAccessReviewSpec", "extra"): "map[string]v1.ExtraValue",
    ("core.ContainerStatus", "allocatedResources"): "v1.ResourceList",
    ("core.NodeAllocatableResourceClaimStatus", "resources"): (
        "map[v1.ResourceName]resource.Quantity"
    ),
    ("core.NodeStatus", "allocatable"): "v1.ResourceList",
    ("core.NodeStatus", "capacity"): "v1.ResourceList",
    ("core.PersistentVolumeClaimStatus", "allocatedResourceStatuses"): (
        "map[v1.ResourceName]v1.ClaimResourceStatus"
    ),
    ("core.PersistentVolumeClaimStatus", "allocatedResources"): "v1.ResourceList",
    ("core.PersistentVolumeClaimStatus", "capacity"): "v1.ResourceList",
    ("core.PodSpec", "overhead"): "v1.ResourceList",
    ("core.PodStatus", "allocatedResources"): "v1.ResourceList",
    ("core.ResourceRequirements", "limits"): "v1.ResourceList",
    ("core.ResourceRequirements", "requests"): "v1.ResourceList",
    ("core.VolumeResourceRequirements", "limits"): "v1.ResourceList",
    ("core.VolumeResourceRequirements", "requests"): "v1.ResourceList",
}

#: Structs that embed another one: its Go name, and the fields that are not in it. A decoding error
#: names the embedded struct on its way to the field.
INLINED = {
    "core.ConfigMapEnvSource": ("LocalObjectReference", "optional"),
    "core.ConfigMapKeySelector": ("LocalObjectReference", "key optional"),
    "core.ConfigMapProjection": ("LocalObjectReference", "items optional"),
    "core.ConfigMapVolumeSource": ("LocalObjectReference", "defaultMode items optional"),
    "core.EphemeralContainer": ("EphemeralContainerCommon", "targetContainerName"),
    "core.PersistentVolumeClaim": ("TypeMeta", "metadata spec status"),
    "core.Probe": (
        "ProbeHandler",
        "failureThreshold initialDelaySeconds periodSeconds successThreshold "
        "terminationGracePeriodSeconds timeoutSeconds",
    ),
    "core.SecretEnvSource": ("LocalObjectReference", "optional"),
    "core.SecretKeySelector": ("LocalObjectReference", "key optional"),
    "core.SecretProjection": ("LocalObjectReference", "items optional"),
    "core.Volume": ("VolumeSource", "name"),
    "networking.IngressRule": ("IngressRuleValue", "host"),
}
