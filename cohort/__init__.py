"""Where scans come from: the simulator, the importer, and a cohort on disk."""
