"""Every kind that the API server of Kubernetes 1.36 can decode, also those that aren't served here.

A body of a known kind at another kind's URL is refused in other words than one of an unknown kind.
Source: the registered types of k8s.io/api, as k8s.io/kubernetes pkg/api/legacyscheme has them.
"""

from __future__ import annotations

from functools import cache

#: In every group and version.
_COMMON = ["WatchEvent"] + [
    f"{verb}Options" for verb in ("Create", "Delete", "Get", "List", "Patch", "Update")
]

_KINDS = """
    admissionregistration.k8s.io/v1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding
    admissionregistration.k8s.io/v1: MutatingWebhookConfiguration ValidatingAdmissionPolicy
    admissionregistration.k8s.io/v1: ValidatingAdmissionPolicyBinding
    admissionregistration.k8s.io/v1: ValidatingWebhookConfiguration
    admissionregistration.k8s.io/v1alpha1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding
    admissionregistration.k8s.io/v1alpha1: ValidatingAdmissionPolicy
    admissionregistration.k8s.io/v1alpha1: ValidatingAdmissionPolicyBinding
    admissionregistration.k8s.io/v1beta1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding
    admissionregistration.k8s.io/v1beta1: MutatingWebhookConfiguration ValidatingAdmissionPolicy
    admissionregistration.k8s.io/v1beta1: ValidatingAdmissionPolicyBinding
    admissionregistration.k8s.io/v1beta1: ValidatingWebhookConfiguration
    apps/v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet
    apps/v1beta1: ControllerRevision Deployment DeploymentRollback Scale StatefulSet
    apps/v1beta2: ControllerRevision DaemonSet Deployment ReplicaSet Scale StatefulSet
    authentication.k8s.io/v1: SelfSubjectReview TokenRequest TokenReview
    authentication.k8s.io/v1alpha1: SelfSubjectReview
    authentication.k8s.io/v1beta1: SelfSubjectReview TokenReview
    authorization.k8s.io/v1: LocalSubjectAccessReview SelfSubjectAccessReview
    authorization.k8s.io/v1: SelfSubjectRulesReview SubjectAccessReview
    authorization.k8s.io/v1beta1: LocalSubjectAccessReview SelfSubjectAccessReview
    authorization.k8s.io/v1beta1: SelfSubjectRulesReview SubjectAccessReview
    autoscaling/v1: HorizontalPodAutoscaler Scale
    autoscaling/v2: HorizontalPodAutoscaler
    batch/v1: CronJob Job
    batch/v1beta1: CronJob
    certificates.k8s.io/v1: CertificateSigningRequest
    certificates.k8s.io/v1alpha1: ClusterTrustBundle
    certificates.k8s.io/v1beta1: CertificateSigningRequest ClusterTrustBundle PodCertificateRequest
    coordination.k8s.io/v1: Lease
    coordination.k8s.io/v1alpha2: LeaseCandidate
    coordination.k8s.io/v1beta1: Lease LeaseCandidate
    discovery.k8s.io/v1: EndpointSlice
    discovery.k8s.io/v1beta1: EndpointSlice
    events.k8s.io/v1: Event
    events.k8s.io/v1beta1: Event
    extensions/v1beta1: DaemonSet Deployment DeploymentRollback Ingress NetworkPolicy ReplicaSet
    extensions/v1beta1: Scale
    flowcontrol.apiserver.k8s.io/v1: FlowSchema PriorityLevelConfiguration
    flowcontrol.apiserver.k8s.io/v1beta1: FlowSchema PriorityLevelConfiguration
    flowcontrol.apiserver.k8s.io/v1beta2: FlowSchema PriorityLevelConfiguration
    flowcontrol.apiserver.k8s.io/v1beta3: FlowSchema PriorityLevelConfiguration
    internal.apiserver.k8s.io/v1alpha1: StorageVersion
    networking.k8s.io/v1: IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR
    networking.k8s.io/v1beta1: IPAddress Ingress IngressClass ServiceCIDR
    node.k8s.io/v1: RuntimeClass
    node.k8s.io/v1alpha1: RuntimeClass
    node.k8s.io/v1beta1: RuntimeClass
    policy/v1: Eviction PodDisruptionBudget
    policy/v1beta1: Eviction PodDisruptionBudget
    rbac.authorization.k8s.io/v1: ClusterRole ClusterRoleBinding Role RoleBinding
    rbac.authorization.k8s.io/v1alpha1: ClusterRole ClusterRoleBinding Role RoleBinding
    rbac.authorization.k8s.io/v1beta1: ClusterRole ClusterRoleBinding Role RoleBinding
    resource.k8s.io/v1: DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice
    resource.k8s.io/v1alpha3: DeviceTaintRule ResourcePoolStatusRequest
    resource.k8s.io/v1beta1: DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice
    resource.k8s.io/v1beta2: DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate
    resource.k8s.io/v1beta2: ResourceSlice
    scheduling.k8s.io/v1: PriorityClass
    scheduling.k8s.io/v1alpha2: PodGroup Workload
    scheduling.k8s.io/v1beta1: PriorityClass
    storage.k8s.io/v1: CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment
    storage.k8s.io/v1: VolumeAttributesClass
    storage.k8s.io/v1alpha1: CSIStorageCapacity VolumeAttachment VolumeAttributesClass
    storage.k8s.io/v1beta1: CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment
    storage.k8s.io/v1beta1: VolumeAttributesClass
    storagemigration.k8s.io/v1beta1: StorageVersionMigration
    v1: APIGroup APIResourceList APIVersions Binding ComponentStatus ConfigMap Endpoints Event
    v1: LimitRange List Namespace Node NodeProxyOptions PersistentVolume PersistentVolumeClaim Pod
    v1: PodAttachOptions PodExecOptions PodLogOptions PodPortForwardOptions PodProxyOptions
    v1: PodStatusResult PodTemplate RangeAllocation ReplicationController ResourceQuota Secret
    v1: SerializedReference Service ServiceAccount ServiceProxyOptions Status
"""


def is_known(api_version: str, kind: str) -> bool:
    """Whether a kind, or the list of one, is registered."""
    kinds = _by_version().get(api_version, frozenset())
    return kind in kinds or kind.removesuffix("List") in kinds


@cache
def _by_version() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for line in _KINDS.strip().split("\n"):
        version, _, kinds = line.strip().partition(": ")
        found[version] = found.get(version, frozenset(_COMMON)) | set(kinds.split())
    return found
