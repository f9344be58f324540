"""The reward in the signatures of other trainers; none of them is imported.

`trl.make_reward`, `verl.compute_score`, `verifiers.make_reward`.
"""
