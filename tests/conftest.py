"""What every test shares."""

from hypothesis import settings

# Machines that run these tests are shared and slow at times: a slow example is no failure.
settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")
