"""What a study shows: page, pictures, tables, best settings, and the folders that are kept."""
