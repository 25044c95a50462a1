"""The domain: conditions, slices, mean counts, left/right ratio, statistics, drift; numpy and scipy only."""
