"""What every test shares: one Hypothesis profile and one thread."""

import os

from hypothesis import settings

# Before torch is imported: on a shared machine its threads fight, and one makes runs repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Derandomised: a failure is found again. No deadline: the first torch call takes most of a second.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")

pytest_plugins = ("tests.store_fixtures", "tests.labelling_fixtures", "tests.web_fixtures")
