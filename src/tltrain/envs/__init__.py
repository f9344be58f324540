"""Environments: what lists tools and executes calls."""
