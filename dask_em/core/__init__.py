"""The language: records, blocks, models, the EM loop. NumPy only."""
