"""What both trainers share and what knows no tools: models, log-probs, the training loop."""
