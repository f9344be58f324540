"""Making trajectories: a teacher acts in an environment."""
