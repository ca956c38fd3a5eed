"""A run's name and a cluster, resolved into every number, path and argument."""
