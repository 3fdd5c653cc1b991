"""Profiles: whylogs sketches of columns that can be kept, merged and compared, the rows forgotten.

The only package that talks to whylogs; a `Profile` is opaque to all others.
"""

import os

os.environ.setdefault("WHYLOGS_NO_ANALYTICS", "1")  # it reports its use to its makers when it is imported

from monitoring.profiles.building import ProfileBuilder, profile_frame
from monitoring.profiles.files import from_bytes, read_profile, summaries, to_bytes, write_profile
from monitoring.profiles.mended import Profile
from monitoring.profiles.merging import beside, merge, renamed

__all__ = [
    "Profile",
    "ProfileBuilder",
    "beside",
    "from_bytes",
    "merge",
    "profile_frame",
    "read_profile",
    "renamed",
    "summaries",
    "to_bytes",
    "write_profile",
]
