"""Reinforcement learning on one-call completions: PPO as in the paper, out of pure functions."""
