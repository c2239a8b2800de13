"""Names, durations and failure reasons of the simulated tasks.

The ten names, the form of the ids, the first reason and the error codes are documented, each code with its meaning.
The other words of the reasons are invented in the style of the first one, and most of them name no code: the documents
do not show which codes a task gives.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a task failed, in both languages of the API."""

    en: str
    zh: str


COMPUTE = (
    Reason("ECS processing exception.", "ECS云服务器处理异常。"),
    Reason(
        "Failed to create the ECS. Error code: Ecs.0319. The flavor is sold out in availability zone 2.",
        "创建云服务器失败。错误码：Ecs.0319，可用区2的该规格已售罄。",
    ),
    Reason(
        "Insufficient quota. Error code: Ecs.0001. Required vCPUs: 32, available: 16.",
        "配额不足。错误码：Ecs.0001，需要32个vCPU，可用16个。",
    ),
    Reason(
        "The available IP addresses in the selected subnet are insufficient. Error code: DBS.200082.",
        "所选子网的可用IP地址不足。错误码：DBS.200082。",
    ),
    Reason(
        "Timed out while waiting for the VM to become active. Error code: Ecs.1201.",
        "等待虚拟机就绪超时。错误码：Ecs.1201。",
    ),
    Reason(
        "The agent on node 192.168.0.37 does not respond. Error code: DBS.200943.",
        "节点192.168.0.37上的代理无响应。错误码：DBS.200943。",
    ),
)
STORAGE = (
    Reason(
        "Failed to expand the EVS disk. The disk is in the error state.",
        "云硬盘扩容失败，云硬盘状态为错误。",
    ),
    Reason(
        "The storage quota is exceeded. Error code: Ecs.0021. Requested: 4000 GB, available: 2560 GB.",
        "存储配额不足。错误码：Ecs.0021，申请4000GB，可用2560GB。",
    ),
    Reason(
        "The file system could not be resized on 1 of 3 nodes.",
        "3个节点中有1个节点文件系统扩展失败。",
    ),
)
BACKUP = (
    Reason(
        "Failed to upload the backup to OBS. Error code: DBS.201509. Service unavailable.",
        "备份上传OBS失败。错误码：DBS.201509，服务不可用。",
    ),
    Reason(
        "The snapshot could not be created on DN dn_6001.",
        "分片dn_6001创建快照失败。",
    ),
    Reason(
        "The KMS key is disabled or pending deletion. Error code: DBS.200507.",
        "KMS密钥已禁用或待删除。错误码：DBS.200507。",
    ),
)
RESTORE = (
    Reason(
        "The backup file failed its integrity check. Error code: DBS.301024.",
        "备份文件完整性校验失败。错误码：DBS.301024。",
    ),
    Reason(
        "The WAL needed for the chosen point in time is missing.",
        "缺少恢复到指定时间点所需的WAL日志。",
    ),
    Reason(
        "The target instance has less storage than the backup needs.",
        "目标实例存储空间小于备份所需空间。",
    ),
)
CLUSTER = (
    Reason(
        "Data redistribution failed on table public.orders.",
        "表public.orders数据重分布失败。",
    ),
    Reason(
        "The instance is abnormal: the primary and standby DNs are out of sync.",
        "实例状态异常：主备分片不同步。",
    ),
    Reason(
        "Failed to switch over the primary node within 600 seconds.",
        "主节点在600秒内倒换失败。",
    ),
)
REASONS = COMPUTE + STORAGE + BACKUP + RESTORE + CLUSTER
"""All reasons."""


@dataclass(frozen=True, slots=True)
class TaskKind:
    """One kind of task."""

    name: str
    """Its name in the API."""
    weight: int
    """Its frequency, relative to other kinds."""
    minutes: tuple[int, int]
    """Shortest and longest duration."""
    reasons: tuple[Reason, ...]
    during: str = "normal"
    """Status of its instance while it runs and after it failed."""
    after: str = "normal"
    """Status of its instance after it completed."""


CREATE = TaskKind("CreateGaussDBV5Instance", 12, (8, 16), COMPUTE, "creating")
BACKUP_NOW = TaskKind("BackupSnapshotGaussDBV5InInstance", 26, (3, 9), BACKUP)
CLONE = TaskKind("CloneGaussDBV5NewInstance", 8, (10, 25), RESTORE + COMPUTE, "creating")
RESTORE_HERE = TaskKind("RestoreGaussDBV5InInstance", 6, (6, 18), RESTORE)
RESTORE_THERE = TaskKind("RestoreGaussDBV5InInstanceToExistedInst", 5, (8, 20), RESTORE)
DELETE = TaskKind("DeleteGaussDBV5Instance", 8, (2, 5), COMPUTE, "normal", "deleted")
ENLARGE = TaskKind("EnlargeGaussDBV5Volume", 14, (3, 8), STORAGE)
RESIZE = TaskKind("ResizeGaussDBV5Flavor", 11, (6, 15), COMPUTE + CLUSTER)
ADD_NODES = TaskKind("GaussDBV5ExpandClusterCN", 5, (5, 12), COMPUTE + CLUSTER)
ADD_SHARDS = TaskKind("GaussDBV5ExpandClusterDN", 4, (12, 40), COMPUTE + CLUSTER)
TASK_KINDS = (CREATE, BACKUP_NOW, CLONE, RESTORE_HERE, RESTORE_THERE, DELETE, ENLARGE, RESIZE, ADD_NODES, ADD_SHARDS)
NAMES = frozenset(kind.name for kind in TASK_KINDS)
"""The names that the API documents, and that its `name` filter takes."""

UNDOCUMENTED_KINDS = (
    TaskKind("UpgradeGaussDBV5InPlace", 1, (5, 12), CLUSTER),
    TaskKind("HotPatchGaussDBV5Instance", 1, (2, 6), CLUSTER),
)
"""Kinds of the task centre that the API does not document. The names are invented."""

SERVICES = ("orders", "billing", "ledger", "catalog", "users", "search", "stock", "reports", "audit", "payments")
STAGES = ("prod", "prod", "staging", "dev")
