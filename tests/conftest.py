"""What holds for all tests."""

from hypothesis import settings

# No test is timed: under load, an example that works may take any time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
