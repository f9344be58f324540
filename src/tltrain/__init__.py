"""tltrain trains a language model to call tools well."""
