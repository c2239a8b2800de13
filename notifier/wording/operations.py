"""The operations that the API documents. The set is open: any other name is shown as it is."""

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
