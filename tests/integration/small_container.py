"""Our configuration of gunicorn, in a container whose limits are in the folder CGROUP."""

import os
from pathlib import Path

from flask_mayday.gunicorn import *  # noqa: F403
from flask_mayday.gunicorn import cgroup

cgroup.ROOT = Path(os.environ["CGROUP"])  # type: ignore[misc]
