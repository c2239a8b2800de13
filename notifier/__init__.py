"""Polls the GaussDB task list of Huawei Cloud and notifies people of what starts, completes and fails."""

__version__ = "1.0.0"
