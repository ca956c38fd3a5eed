"""Where a run's files lie."""

from encore.plan import run_paths


def test_a_users_folder_replaces_that_kind_only() -> None:
    paths = run_paths.RunPaths("/w", "run", (("images", "/p/images"), ("checkpoints", "/flash/c")))
    assert (paths.images, paths.checkpoints, paths.data) == ("/p/images", "/flash/c/run", "/w/data")
