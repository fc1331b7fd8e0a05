"""The seed of what is drawn anew at every run; REVNORM_SEED repeats one."""

import os

SEED = int(os.environ.get("REVNORM_SEED") or int.from_bytes(os.urandom(4), "little"))
# Processes that a run starts draw the same.
os.environ["REVNORM_SEED"] = str(SEED)
