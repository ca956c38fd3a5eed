"""How many examples a property test tries: its own number, or fewer in `make check`."""

from hypothesis import settings


def examples(count: int) -> settings:
    """At most `count` examples, and no more than the quick profile's in `make check`."""
    if settings.get_current_profile_name() == "quick":
        count = min(count, settings.default.max_examples)
    return settings(max_examples=count, deadline=None)
