"""From numpy arrays to matplotlib figures. Pure: reads no file, computes no statistic, leaves no global state."""
