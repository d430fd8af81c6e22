"""`[explain]`: which concepts stand between what the model says and what it affirms."""
