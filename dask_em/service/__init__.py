"""Jobs: fits that a scheduler runs, whether or not anybody watches."""
