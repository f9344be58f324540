"""Grammars of what a model may write: plain text, or calls of the tools on offer. Built from syntax and schemas."""
