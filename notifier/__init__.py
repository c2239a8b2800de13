"""Watches the GaussDB task list of Huawei Cloud and tells people what starts, completes and fails."""

__version__ = "0.1.0"
