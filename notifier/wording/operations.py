"""The operations and the alarms that the cloud documents. Both sets are open: any other name is shown as it is."""

OPERATIONS = frozenset(
    {
        "BackupSnapshotGaussDBV5InInstance",
        "CloneGaussDBV5NewInstance",
        "CreateGaussDBV5Instance",
        "DeleteGaussDBV5Instance",
        "EnlargeGaussDBV5Volume",
        "GaussDBV5ExpandClusterCN",
        "GaussDBV5ExpandClusterDN",
        "ResizeGaussDBV5Flavor",
        "RestoreGaussDBV5InInstance",
        "RestoreGaussDBV5InInstanceToExistedInst",
    }
)
"""Names that have phrases: `operation.CreateGaussDBV5Instance`."""

ALARMS = frozenset(
    {
        "ClusterStatusAlarm",
        "ComponentStatusAlarm",
        "GaussDBV5ApplyParamFailed",
        "GaussDBV5BindEIPFailed",
        "GaussDBV5CreateInstanceFailed",
        "GaussDBV5DeleteBackupFailed",
        "GaussDBV5DifferentialBackupFailed",
        "GaussDBV5EnlargeVolumeFailed",
        "GaussDBV5ExpandClusterFailed",
        "GaussDBV5FaultyDBInstance",
        "GaussDBV5FaultyDBNode",
        "GaussDBV5FullBackupFailed",
        "GaussDBV5RestartInstanceFailed",
        "GaussDBV5RestoreFromBcakupFailed",
        "GaussDBV5UnbindEIPFailed",
        "GaussDBV5UpdateInstanceParamGroupFailed",
        "GaussDBV5UpgradeHotfixFailed",
        "HardwareResourceAlarm",
        "OtherAbnormalAlarm",
        "ProcessStatusAlarm",
        "StateTransitionAlarm",
        "TaurusInstanceRunningStatusAbnormal",
        "TaurusNodeRunningStatusAbnormal",
    }
)
"""Names of alarms that have phrases: `alarm.GaussDBV5FaultyDBNode.label`, `.means` and `.do`."""

KNOWN_NAMES = OPERATIONS | ALARMS
"""All names that have a label of ours."""
