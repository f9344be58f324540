"""Public dataset formats to and from `Trajectory`; one module a format, named rows in every error."""
