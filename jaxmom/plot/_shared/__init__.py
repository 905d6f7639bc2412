"""Shared by all plots: reading data, statuses of lanes, scales, colors, marks and legends."""
