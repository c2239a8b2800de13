"""Chinese titles of columns, and the words in cells that are not data.

Names that people type (types of events, states of deliveries, channels, sources) are the same in every language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

TableLanguage = Literal["en", "zh"]


def translated(language: TableLanguage, english: str) -> str:
    """Return a title or a word of a table in a language."""
    return english if language == "en" else ZH[english]


ZH: Mapping[str, str] = {
    "About": "关于",
    "Acknowledged": "认领",
    "Action": "操作",
    "By": "操作人",
    "Changed": "变更时间",
    "Channel": "通道",
    "Channels": "通道",
    "Ended": "结束时间",
    "Event": "事件",
    "Failed": "失败时间",
    "First seen": "首次发现",
    "Id": "ID",
    "Instance": "实例",
    "Job": "作业 ID",
    "Listed": "列表",
    "Muted": "屏蔽",
    "Reason": "原因",
    "Seen": "发现时间",
    "Source": "来源",
    "Started": "开始时间",
    "State": "状态",
    "Status": "状态",
    "Task": "任务",
    "Took": "耗时",
    "Tries": "次数",
    "Until": "截止时间",
    "When": "时间",
    "digest of {count}": "{count} 个事件的摘要",
    "late": "迟到",
    "no longer": "已不在列表中",
}
"""By the English title or word."""
