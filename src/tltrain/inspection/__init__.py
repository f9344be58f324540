"""Trajectories for people to read: one page for a whole file, one screen for a single row."""
