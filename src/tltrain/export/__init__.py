"""A trained model as a folder that servers load: written, loaded back by a fresh process, and compared."""
