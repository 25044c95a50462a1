"""From a run to a released bundle and its version."""
