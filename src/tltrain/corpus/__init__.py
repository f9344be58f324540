"""Files of trajectories become the data of a run: mixed, without duplicates, checked against test sets, split."""
