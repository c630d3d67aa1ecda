"""Found by a server started with this folder on PYTHONPATH: its clock is ahead by what CLOCK_AHEAD_FILE says."""

import os
import time
from pathlib import Path

_file = Path(os.environ["CLOCK_AHEAD_FILE"])
_now = time.time
time.time = lambda: _now() + float(_file.read_text())
