"""The engine on Ray: a study's stages made by several workers at once, on one machine or many."""
