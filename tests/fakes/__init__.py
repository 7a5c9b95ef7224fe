"""Fakes of the same shape as the rooms that they stand in for."""
