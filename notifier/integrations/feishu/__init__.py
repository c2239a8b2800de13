"""Feishu (飞书) and Lark: custom bots of groups, and bots of an enterprise's own apps."""
