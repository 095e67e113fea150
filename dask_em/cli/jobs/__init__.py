"""Commands that deal with jobs: fits that a scheduler runs, whether or not anybody watches."""
