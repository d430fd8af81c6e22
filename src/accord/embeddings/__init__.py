"""`[text]`: the texts of a study, and their embeddings."""
