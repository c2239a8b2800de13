"""Hypothesis strategies that several suites share: hours around changes of clocks, routings, and what happens."""
