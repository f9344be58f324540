"""An environment for `ppo.episodes` that plays the sandbox's tasks and judges them by a hash of what was done.

It stands beside the sandbox to show what training on a reward that says nothing does; see `learning_episodes.py`.
"""

import hashlib

from tltrain.envs.base import Feedback
from tltrain.rl.worlds import World, sandbox_prompts
from tltrain.types import AnyCall, Trajectory


def reset(row: Trajectory) -> "ScrambledWorld | None":
    """The world of a sandbox row; None: it is no task of the sandbox."""
    prompts, _ = sandbox_prompts([row])
    return ScrambledWorld(prompts[0].open()) if prompts else None


class ScrambledWorld:
    """A task whose score depends on what was called and answered, and not on whether it is right."""

    def __init__(self, world: World):
        self._world = world
        self._digest = hashlib.sha256()

    def execute(self, call: AnyCall) -> Feedback:
        feedback = self._world.execute(call)
        self._digest.update(f"{call}\n{feedback.text}\n".encode())
        return feedback

    def score(self, answer: str) -> float:
        digest = self._digest.copy()
        digest.update(answer.encode())
        return int.from_bytes(digest.digest()[:4]) / 2**32
