"""Trajectories as a model reads them: tokens, spans of calls, and a loss weight for each token."""
