"""Watches the GaussDB task list of Huawei Cloud and tells people what starts, completes and fails."""

__version__ = "1.0.0"
