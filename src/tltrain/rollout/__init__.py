"""Prompts to sampled completions."""
