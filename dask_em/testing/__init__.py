"""Law suites for authors of models and sources. They need pytest or any runner, and hypothesis."""
