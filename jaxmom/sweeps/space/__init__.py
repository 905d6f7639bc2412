"""Spaces of lanes: axes, scales, samples, their products and unions, and their JSON form."""
