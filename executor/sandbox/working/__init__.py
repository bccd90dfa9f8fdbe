"""A working folder that a run can write in, over a source that nobody changes.

`layers` lays a layer of the run's own over the source (overlayfs), `owners` sees to it that the run's user may change
what lies below, `copy` stands in where a kernel or a container refuses that. What was written is given at the end with
the run's other files, or is gone with its attempt: nothing stays for the next run.
"""

OVERLAY, COPY, READ_ONLY = "overlay", "copy", "read-only"
"""How a run has its working folder, as the receipt says it."""

UPPER, WORK = "upper", "work"
"""In an attempt's folder `written`: what the run writes, and what the kernel needs beside it."""
