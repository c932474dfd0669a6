"""From files, arrays and frames to float64 rows with a schema."""
