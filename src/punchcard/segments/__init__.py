"""Segments: who belongs to them by which filter, and the lane that keeps that up."""
