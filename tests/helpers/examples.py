"""How many examples a property test tries: its own number, or fewer in `make check`."""

from hypothesis import settings


def examples(count: int) -> settings:
    """`count` examples; in `make check` a sixth, and no more than the quick profile's."""
    if settings.get_current_profile_name() == "quick":
        # a test that asks for few has slow ones
        count = min(max(2, count // 6), settings.default.max_examples)
    return settings(max_examples=count, deadline=None)
