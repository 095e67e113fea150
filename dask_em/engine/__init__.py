"""The only home of distributed arithmetic: plans, passes, merges, fits and predictions."""
