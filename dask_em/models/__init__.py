"""The mathematics: mixtures, what they mix, and where they start. NumPy and SciPy."""
