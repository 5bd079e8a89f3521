"""The package that `bench-cluster-step` has in the place of `app`: one job type, whose job is a timer."""
