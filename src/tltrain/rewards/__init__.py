"""From what is wrong with a call to a number that reinforcement learning can use."""

from tltrain.rewards.rules import PAPER_TABLE, Reward, RewardTable, reward, reward_turn

__all__ = ["PAPER_TABLE", "Reward", "RewardTable", "reward", "reward_turn"]
