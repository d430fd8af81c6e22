"""`[perplexity]`: texts that every model of a study writes, and a third-party model judges."""
