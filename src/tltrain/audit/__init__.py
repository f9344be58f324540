"""Which calls of a trajectory went wrong, read from the feedback that answers them (MAE, method.md section 1)."""
