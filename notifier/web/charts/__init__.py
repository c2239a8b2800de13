"""Geometry of the charts: from facts to marks, in per cent and pixels."""
